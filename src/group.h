/*
 * group.h
 *		What the merchant decides: groups.
 */
#ifndef SEGMENT_GROUP_H
#define SEGMENT_GROUP_H

#include "commands/trigger.h"
#include "rule.h"
#include "source.h"

extern bool segment_groups_saved(SourceSet *set, TriggerData *trigger);
extern Coming *segment_group_coming(void);
extern void segment_group_activate(Coming *coming);

#endif							/* SEGMENT_GROUP_H */
