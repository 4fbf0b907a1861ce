/* SPDX-License-Identifier: Apache-2.0 */
/* The same objects, of the other layout: they stand in another folder. */
#include "../../native/kernel/objects.S"
