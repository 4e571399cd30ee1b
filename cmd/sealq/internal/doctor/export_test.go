package doctor

// What bounds a run: connecting, the slowest check, and closing after each.
const (
	DefaultReach = defaultReach
	DefaultLook  = defaultLook
	Closing      = closing
)

// What no server of the tests says: that it is old, or what is to change a terminal.
var (
	RedisVersionIs = redisVersionIs
	PostgresIs     = postgresIs
	OneLine        = oneLine
)
