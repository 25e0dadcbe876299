/*
 * stale.h
 *		Sources whose state may be wrong.
 */
#ifndef SEGMENT_STALE_H
#define SEGMENT_STALE_H

#include "nodes/pg_list.h"
#include "segment.h"
#include "source.h"

extern char *segment_table_name(Oid relid);
extern List *segment_with_ancestors(Oid relid);
extern bool segment_is_or_watches(Source *source, Oid relid);
extern List *segment_sources_of(SourceSet *set, List *relids);
extern void segment_mark_sources(SourceSet *set, List *sources, const char *reason);
extern void segment_mark_faults(SourceSet *set, List *afresh);
extern void segment_marks_cleared(void);
extern void segment_stale_init(void);

#endif							/* SEGMENT_STALE_H */
