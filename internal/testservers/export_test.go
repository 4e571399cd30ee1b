package testservers

// ProxiedPostgres is what PostgresServer falls back to where PostgreSQL's
// binaries are not to be found.
var ProxiedPostgres = proxiedPostgres
