#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Find every mistake in an inventory before any host is touched
description:
  - Checks sites, segments, addresses, identities, thresholds, users, secrets, fence devices and redirectors on the
    controller.
  - Fails with one list of all mistakes, each with file, key, value and remedy. Never changes anything.
  - It is an action plugin; this file holds its documentation.
options:
  directory:
    description: The inventory's folder, to name the files in which mistakes stand.
    type: path
author: Holdfast
"""

EXAMPLES = r"""
- name: Check the inventory
  holdfast.mail.inventory_check:
    directory: "{{ inventory_dir }}"
"""

RETURN = r"""
mistakes:
  description: One line for each mistake.
  type: list
  elements: str
  returned: always
"""
