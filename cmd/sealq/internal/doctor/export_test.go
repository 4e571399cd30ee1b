package doctor

// What old servers are told of, of which no test has one.
var (
	RedisVersionIs = redisVersionIs
	PostgresIs     = postgresIs
)
