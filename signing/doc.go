// Package signing decides whether a task is genuine. It signs what an application puts into a queue, and verifies what a
// worker takes out of one, so that whoever can write to the queue cannot make the worker do anything.
//
// A task's signature is an envelope of 78 bytes (104 characters of base64url) that travels in the task header
// [SignatureHeader]; the payload stays as it is, or is encrypted when [Validity] asks for it. The signature covers the
// deployment ([Keys.Audience]), the queue, the kind, the task's ID, its retries, every other header and the payload.
//
// Keys come from a [Ring], an immutable document whose moves ([Ring.Rotate], [Ring.Promote], …) return the next version.
// A [Source] loads it; [Open] follows the source and verifies with whatever ring it last held. A signer whose ring was not
// confirmed for four minutes refuses to sign, because a key retires five minutes after its successor was promoted.
//
// What it refuses: it has no algorithm field and no way to choose one; it decodes, decrypts and logs nothing of a payload
// before the last step of verifying; only [Keys.Verify] and [Keys.VerifyWith] make a [Verified], and only a Verified gives
// a payload out. It knows no queue, no database and no network, and no value of it prints a secret: the two ways out are
// named [Secret.RevealText] and [Ring.Marshal].
package signing
