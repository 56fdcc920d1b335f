#!/bin/sh
# SPDX-License-Identifier: MIT
exec /usr/bin/python3 "${ODF_SOURCE:?}/tests/cli/inspect.py"
