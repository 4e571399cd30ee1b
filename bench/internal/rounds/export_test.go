package rounds

// Order and Median are what a table rests on.
var (
	Order  = order
	Median = median
)
