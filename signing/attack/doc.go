// Package attack is the corpus of what whoever can write to the queue may try: tasks as they would lie there, made from a
// genuine one, each with the one thing that must become of it. No byte of any of them may reach a handler.
//
// [Cases] is the table, and [Forge.Bits] flips every bit of a signature. A [Forge] makes a case into a [Shot]: the task as the
// queue stores it, and the list and the key it is put under. The package's own tests hold the shots against
// [signing.Keys.VerifyWith]; whoever has a queue can put the same shots there.
//
// The signatures come from an implementation of their own, written from the format and sharing no code with package signing:
// a forger who holds a key signs what that package refuses to. The package knows no queue and writes nowhere, holds no
// secret, and makes keys of its own where a case needs a stranger's.
package attack
