package doctor

// What bounds a run: connecting, the slowest check, and closing after each.
const (
	DefaultReach = defaultReach
	DefaultLook  = defaultLook
	Closing      = closing
)

// What old servers are told of, of which no test has one.
var (
	RedisVersionIs = redisVersionIs
	PostgresIs     = postgresIs
)
