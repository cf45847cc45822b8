/* SPDX-License-Identifier: Apache-2.0
 * serve_budgets.h - the watch over budgets and caps as `imago serve` runs it, and its log. */
#ifndef CLI_SERVE_BUDGETS_H
#define CLI_SERVE_BUDGETS_H
#include "work/budget.h"

/* *ret_watch stays NULL where there is no ledger (`results` NULL) or no tenant with a budget
 * (`account` NULL). */
NODISCARD enum rc serve_budgets_open(struct results *results, struct account *account,
                                     struct budget_watch **ret_watch, struct error *err);
#endif
