/*
 * judge.h
 *		Who is in what.
 */
#ifndef SEGMENT_JUDGE_H
#define SEGMENT_JUDGE_H

#include "standing.h"

extern uint64 segment_judge(SourceSet *set, Judgements *judgements);
extern uint64 segment_judge_all(SourceSet *set, const char *filter, bool with_before,
								Cause cause, const char *source, const char *source_key,
								Tuplestorestate *moved, TupleDesc moved_desc);
extern uint64 segment_judge_group(SourceSet *set, int group, const char *filter, const char *source_key);
extern Snapshot segment_past_snapshot(void);
extern uint64 segment_wake(SourceSet *set, TimestampTz at, int64 limit);
extern void segment_wake_everyone(SourceSet *set);
extern void segment_judge_due(SourceSet *set, Snapshot snapshot, TimestampTz at, Tuplestorestate *rows, TupleDesc desc);

#endif							/* SEGMENT_JUDGE_H */
