/*
 * tick.h
 *		Due work, and the background workers that do it.
 */
#ifndef SEGMENT_TICK_H
#define SEGMENT_TICK_H

#include "segment.h"

extern uint64 segment_tick_once(TimestampTz at, int64 limit);
extern void segment_worker_init(void);

#endif							/* SEGMENT_TICK_H */
