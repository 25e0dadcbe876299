/*
 * ddl.h
 *		DDL on attached and watched tables.
 */
#ifndef SEGMENT_DDL_H
#define SEGMENT_DDL_H

#include "segment.h"

extern void segment_put_triggers(Oid owner, Oid relid);
extern void segment_take_triggers(Oid owner, Oid relid);
extern void segment_ddl_init(void);

#endif							/* SEGMENT_DDL_H */
