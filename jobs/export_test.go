package jobs

// UniqueFor is what makes a Unique option out of a lock.
var UniqueFor = uniqueFor

// ReadsOptions says whether c reads the options of asynq's tasks, and needs a resolver for few of them.
func ReadsOptions(c *Client) bool { return c.options.field >= 0 }

// ResolveAll makes c resolve all options, as it does with another asynq.
func ResolveAll(c *Client) { c.options.field = -1 }
