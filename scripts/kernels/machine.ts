// SPDX-License-Identifier: Apache-2.0
// A virtual machine that runs one program and is gone: a kernel, and a file system in memory with
// the program, busybox and a script of ours.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { MeshError } from '../../src/lib/error.ts';
import { type Ended, runToEnd } from '../child.ts';
import { run } from '../steps.ts';
import type { Kernel } from './package.ts';

/** Where Debian's busybox-static puts it. */
const busybox = '/bin/busybox';
const qemu = 'qemu-system-x86_64';
/** Emulated, the tests take a minute or two; this is for a machine that hangs. */
const timeoutMs = 600_000;
/** What the script says last: how the program ended. */
const lastLine = /^weft-exit (\d+)$/m;
/** What a kernel says of itself when it has a bug. */
const kernelTrouble = 'WARNING:|BUG:|Oops|Call Trace|suspicious RCU';

/** Throws MeshError `unsupported`, with what to install, when machines cannot be made here. */
export async function needMachines(): Promise<void> {
  if (process.arch !== 'x64') {
    throw new MeshError('unsupported', 'virtual machines are made on x86-64 only');
  }
  const hint = 'apt-get install -y --no-install-recommends qemu-system-x86 busybox-static xz-utils';
  await run('which', [qemu, busybox, 'xz']).catch(() => {
    throw new MeshError('unsupported', `${qemu}, busybox or xz is missing:  ${hint}`);
  });
  // A program that needs a loader names it at its very beginning.
  if (readFileSync(busybox).subarray(0, 4096).includes('/ld-linux')) {
    throw new MeshError('unsupported', `${busybox} is not the static one:  ${hint}`);
  }
}

/** The first process: sets up what the program needs, runs it, and ends the machine. */
export function initOf(modules: readonly string[], program: string): string {
  return `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
dmesg -n 1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
${modules.map((name) => `insmod /modules/${name}`).join('\n')}
/bin/${program}
echo "weft-exit $?"
dmesg | grep -E '${kernelTrouble}' | sed 's/^/# kernel: /'
poweroff -f
`;
}

async function initramfsIn(work: string, kernel: Kernel, program: string): Promise<string> {
  const tree = join(work, 'tree');
  rmSync(tree, { recursive: true, force: true });
  for (const folder of ['bin', 'modules', 'proc', 'sys', 'tmp', 'dev']) {
    mkdirSync(join(tree, folder), { recursive: true });
  }
  copyFileSync(busybox, join(tree, 'bin/busybox'));
  copyFileSync(program, join(tree, 'bin', basename(program)));
  for (const module of kernel.modules) {
    copyFileSync(module, join(tree, 'modules', basename(module)));
  }
  const names = kernel.modules.map((module) => basename(module));
  writeFileSync(join(tree, 'init'), initOf(names, basename(program)));
  chmodSync(join(tree, 'init'), 0o755);
  const archive = join(work, 'initramfs.cpio');
  const list = await run('find', ['.'], { cwd: tree });
  await run(busybox, ['cpio', '-o', '-H', 'newc', '-F', archive], { cwd: tree, input: list });
  return archive;
}

/** What the program said, without what firmware and terminals add. */
export function saidOn(console: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what terminals add.
  return console.replaceAll(/\u001b(?:\[[?\d;]*[a-zA-Z]|c)|\r/g, '');
}

/** How the program ended, by all that the machine said. */
export function endOf(said: string, failure: string | undefined): Ended {
  const [, code] = lastLine.exec(said) ?? [];
  const trouble = said.split('\n').filter((line) => line.startsWith('# kernel: '));
  const own = code === undefined ? 'the machine ended before the program' : `exit code ${code}`;
  const why = trouble.length > 0 ? 'the kernel has a bug' : code === '0' ? undefined : own;
  return { stdout: said, errors: trouble.join('\n'), failure: failure ?? why };
}

/** Boots `kernel`, runs the static `program` as root, and says how that ended. Never rejects. */
export async function runOn(kernel: Kernel, program: string, work: string): Promise<Ended> {
  const initrd = await initramfsIn(work, kernel, program);
  const { stdout, failure } = await runToEnd({
    file: qemu,
    args: [
      ...['-machine', 'q35', '-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', '1024'],
      ...['-nographic', '-no-reboot', '-nic', 'none', '-kernel', kernel.image, '-initrd', initrd],
      ...['-append', 'console=ttyS0 panic=-1 quiet mitigations=off'],
    ],
    timeoutMs,
  });
  return endOf(saidOn(stdout), failure);
}
