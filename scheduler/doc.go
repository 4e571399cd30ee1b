// Package scheduler turns the due times of schedules into ticks: rows of a database, each made once, together with the outbox
// row of its job. Any number of schedulers may run side by side, without a leader: the database decides who makes a tick, and by
// its clock, so that neither a host that is killed or stopped nor one whose clock is wrong loses or doubles one.
//
// The schedules stand in a book in the database. Programs place their own there when they start ([Config.Schedules]), people add
// and change others while schedulers run; whoever knows the kind of a schedule's job makes its ticks, whoever placed it. A
// [Timetable] says when a schedule is due, [jobs.CatchUp] what becomes of due times that were missed, and a [Watch] which
// schedules have not done what they should have.
//
// The package refuses, when it is given them, expressions that do not parse, dates that never come, due times too close together,
// unknown zones and kinds, and arguments that are not complete; a schedule in the book that is such is left alone, and told of,
// while the others run. It holds no key, signs nothing and runs no job.
package scheduler
