/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_TERMINAL_H
#define ODF_SPAWN_TERMINAL_H

#include "engine.h"

/* After ODF_SPAWN_FOREGROUND and a failure: the terminal's foreground group is again what it was. `tty`: the
 * caller's descriptor of it, or -1 for /dev/tty. Nothing after a success. */
void terminal_give_back(int tty, const struct result *result);
#endif
