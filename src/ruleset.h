/*
 * ruleset.h
 *		Ladders and tiers compiled, the same for every session.
 */
#ifndef SEGMENT_RULESET_H
#define SEGMENT_RULESET_H

#include "classify.h"
#include "lib/stringinfo.h"

extern const Ruleset *segment_ruleset(Oid owner);
extern void segment_ruleset_bump(void);
extern void segment_require_ladders(void);
extern const Ladder *segment_ruleset_fault(const Ruleset *ruleset, StringInfo what,
										   StringInfo detail, StringInfo hint);

#endif							/* SEGMENT_RULESET_H */
