package jobs

// UniqueFor is what makes a Unique option out of a lock.
var UniqueFor = uniqueFor

// KnowsPlainTasks says whether c tells tasks that were made without options from others, and so needs no resolver for them.
func KnowsPlainTasks(c *Client) bool { return c.options.field >= 0 }

// ResolveAll takes that knowledge from c, as another asynq would.
func ResolveAll(c *Client) { c.options.field = -1 }
