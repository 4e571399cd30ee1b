// Package requests is what an operator asks for where nobody may do it at once: pages hold no key, so they write down what is wanted, and
// a worker or a scheduler, which holds what it takes, carries it out ([Carrier]) and tells how it ended.
//
// A request is carried out once at most: it is taken by one process, and by no second one, whatever becomes of the first. It waits for a few
// minutes and no longer, so that nothing happens that nobody remembers having asked for. That it was asked for is entered in the audit
// log in the same transaction, and so is its end.
//
// What the package refuses: it holds no secret and puts none into a request, and it knows no database, no queue and no key. What a kind
// of request does is said by whoever makes a Carrier.
package requests
