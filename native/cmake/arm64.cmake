# SPDX-License-Identifier: Apache-2.0
# Compiles for arm64 by Debian's cross compiler. Headers that are good for every processor, such as
# protozero's, are the machine's. scripts/target.ts says how programs are run.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
