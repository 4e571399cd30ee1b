package rounds

// Order and Median are what a table rests on.
var (
	Order  = order
	Median = median
)

// Cores is how many cores were busy in each round.
func Cores(perSecond []float64, cpu ...[]float64) []float64 {
	return figures{perSecond: perSecond, cpu: cpu}.cores()
}
