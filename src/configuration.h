/*
 * configuration.h
 *		Settings of the shop.
 */
#ifndef SEGMENT_CONFIGURATION_H
#define SEGMENT_CONFIGURATION_H

#include "segment.h"

extern char *segment_setting(const char *name);

#endif							/* SEGMENT_CONFIGURATION_H */
