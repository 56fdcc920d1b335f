/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_TERMINAL_H
#define ODF_SPAWN_TERMINAL_H

#include "engine.h"

/* After a failed spawn with ODF_SPAWN_FOREGROUND: restores the terminal's foreground process group. `tty`: the caller's
 * descriptor of the terminal, or -1 for /dev/tty. After a success it does nothing. */
void terminal_give_back(int tty, const struct result *result);
#endif
