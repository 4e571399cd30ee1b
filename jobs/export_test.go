package jobs

// UniqueFor is what makes a Unique option out of a lock.
var UniqueFor = uniqueFor
