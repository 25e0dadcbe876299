/*
 * recalculate.h
 *		All again, from the attached tables, in plain SQL.
 */
#ifndef SEGMENT_RECALCULATE_H
#define SEGMENT_RECALCULATE_H

#include "source.h"

extern void segment_refuse_in_use(SourceSet *set, const char *doing);
extern void segment_fill(SourceSet *set, Source *source);
extern uint64 segment_recompute(SourceSet *set, Datum customers, Cause cause, const char *source);

#endif							/* SEGMENT_RECALCULATE_H */
