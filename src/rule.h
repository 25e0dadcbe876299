/*
 * rule.h
 *		What every change of groups, ladders and tiers has in common.
 */
#ifndef SEGMENT_RULE_H
#define SEGMENT_RULE_H

#include "commands/trigger.h"
#include "source.h"

extern void segment_rules_begin(void);
extern char *segment_rule_history(SourceSet *set, TriggerData *trigger);
extern char *segment_rule_truncated(SourceSet *set, const char *table);
extern uint64 segment_rules_apply(SourceSet *set, const char *source_key);

#endif							/* SEGMENT_RULE_H */
