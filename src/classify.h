/*
 * classify.h
 *		Which tiers a customer has reached: pure.
 */
#ifndef SEGMENT_CLASSIFY_H
#define SEGMENT_CLASSIFY_H

#include "segment.h"

typedef struct Tier
{
	int			id;
	char	   *code;
	bool		active;
	bool		has_max;
	bool		takes_all_below;	/* lowest of its ladder, from 0 */
	Numeric		min_value;
	Numeric		max_value;		/* where has_max */
} Tier;

typedef struct Ladder
{
	char	   *code;
	Figure		figure;
	bool		active;
	Numeric		unit;
	int			ntiers;			/* all tiers, by min_value */
	Tier	   *tiers;
	int			nformer;		/* deleted, but still held until everyone is re-ranked */
	Tier	   *former;
} Ladder;

typedef struct Ruleset
{
	int64		version;
	bool		valid;			/* every ladder's ranges are right */
	int			nladders;
	Ladder	   *ladders;
} Ruleset;

extern Figure segment_figure_by_name(const char *name);
extern const char *segment_figure_names(void);
extern bool segment_figure_is_money(Figure figure);
extern Numeric segment_figure_value(Figure figure, const Facts *facts);
extern const Tier *segment_tier_reached(const Ladder *ladder, const Facts *facts);
extern const Tier *segment_tier_by_id(const Ruleset *ruleset, int id, const Ladder **ladder);

#endif							/* SEGMENT_CLASSIFY_H */
