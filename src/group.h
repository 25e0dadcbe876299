/*
 * group.h
 *		What the merchant decides: groups.
 */
#ifndef SEGMENT_GROUP_H
#define SEGMENT_GROUP_H

#include "commands/trigger.h"
#include "source.h"

extern bool segment_groups_saved(SourceSet *set, TriggerData *trigger);

#endif							/* SEGMENT_GROUP_H */
