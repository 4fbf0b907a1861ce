/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which optional parts an object has. Some sources are compiled more than once, each time by a file
 * of its own (X_without_Y.bpf.c), to an object of its own: a kernel that refuses a part is given
 * the object that has not a line of it. */
#ifndef WEFT_MESH_FEATURES_H
#define WEFT_MESH_FEATURES_H

/* Direct connections between pods of one node. */
#ifndef WEFT_HAS_DIRECT
#define WEFT_HAS_DIRECT 1
#endif

/* Endpoints of services are picked here, for direct connections. */
#ifndef WEFT_HAS_SERVICES
#define WEFT_HAS_SERVICES WEFT_HAS_DIRECT
#endif

#endif
