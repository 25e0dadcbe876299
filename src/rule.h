/*
 * rule.h
 *		What every change of groups, ladders and tiers has in common.
 */
#ifndef SEGMENT_RULE_H
#define SEGMENT_RULE_H

#include "commands/trigger.h"
#include "source.h"

/* a condition that is about to come into force: everyone but who bears its mark is judged already */
typedef struct Coming
{
	int			group;			/* id of the group that it is to be the condition of */
	int			marker;			/* what those bear in segment.standings whom it moves */
	uint64		moved;			/* filled in: how many customers it has moved */
} Coming;

extern void segment_rules_begin(void);
extern char *segment_rule_history(SourceSet *set, TriggerData *trigger);
extern char *segment_rule_truncated(SourceSet *set, const char *table);
extern uint64 segment_rules_apply(SourceSet *set, const char *source_key, Coming *coming);

#endif							/* SEGMENT_RULE_H */
