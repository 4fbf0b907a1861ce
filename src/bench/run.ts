// SPDX-License-Identifier: Apache-2.0
// Carries out a plan: what can run is run on labs of its own, what cannot is told.
import type { Lab } from '../lab/lab.ts';
import { MeshError } from '../lib/error.ts';
import { restartAll, withBenchLab } from './bench-lab.ts';
import { openLoopOrReason } from './open-loop.ts';
import { type Plan, stepsOf } from './plan.ts';
import type { Progress } from './progress.ts';
import { type NotRun, notCarried, runRounds, type Sample } from './rounds.ts';
import {
  idleEngine,
  idleMemory,
  type MemoryReading,
  memoryRows,
  podMemory,
} from './studies/memory.ts';
import { measureNeighbour, neighbourStudy } from './studies/neighbour.ts';
import { measurePropagation, meshSizes, propagationStudy } from './studies/propagation.ts';
import { feelsStorm, measureStorms, stormMode, storms } from './studies/storm.ts';
import { countSyscalls, type SyscallRow } from './studies/syscalls.ts';
import { type Row, summaryOf } from './summary.ts';
import { vegetaOrReason } from './tools.ts';
import { allVariants } from './variants/all.ts';
import { type StartOptions, setsOf, type Variant } from './variants/variant.ts';
import { weft } from './variants/weft.ts';
import { type Proof, verify } from './verify.ts';
import { type Mode, modes, type Workload, workloads } from './workloads.ts';

/** What a run needs besides its plan. */
export interface RunOptions extends Plan {
  /** The lab's name. */
  readonly name: string;
  /** Settings of Weft's engine, besides those of a mode. */
  readonly engine: readonly string[];
  readonly progress: Progress;
}

/** What came of it. */
export interface Outcome {
  readonly variants: readonly Variant[];
  readonly rows: readonly Row[];
  readonly samples: readonly Sample[];
  readonly proofs: readonly Proof[];
  readonly syscalls: readonly SyscallRow[];
  readonly readings: readonly MemoryReading[];
  readonly notRun: readonly NotRun[];
  /** What ended the run before all was measured. */
  readonly failure?: MeshError;
}

const isProxied = (lab: Lab, variant: Variant): boolean =>
  variant.proxyOf(lab, 'client') !== undefined;

/** A plan on its way. */
class Run {
  readonly #options: RunOptions;
  readonly #rows: Row[] = [];
  readonly #samples: Sample[] = [];
  readonly #proofs: Proof[] = [];
  readonly #syscalls: SyscallRow[] = [];
  readonly #readings: MemoryReading[] = [];
  readonly #notRun: NotRun[] = [];
  #variants: readonly Variant[] = [];
  #wanted: ReadonlySet<string>;
  #failure: MeshError | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#wanted = new Set(options.workloads);
  }

  get outcome(): Outcome {
    return {
      variants: this.#variants,
      rows: this.#rows,
      samples: this.#samples,
      proofs: this.#proofs,
      syscalls: this.#syscalls,
      readings: this.#readings,
      notRun: this.#notRun,
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
    };
  }

  /** Does everything in turn. What was measured before a failure is in the outcome with it. */
  async go(): Promise<void> {
    try {
      await this.#prepare();
      await this.#compare();
      await this.#memory();
      await this.#propagation();
    } catch (error) {
      this.#failure = MeshError.from(error);
    }
  }

  /** Leaves out what this machine cannot run. */
  async #prepare(): Promise<void> {
    const { progress, variants } = this.#options;
    const note = (text: string): void => progress.note(text);
    const able: Variant[] = [];
    for (const variant of allVariants.filter(({ name }) => variants.includes(name))) {
      const why = await variant.prepare(note);
      if (why === undefined) {
        able.push(variant);
      } else {
        this.#leaveOut({ variant: variant.name, why });
      }
    }
    this.#variants = able;
    const paced = workloads.filter(({ tool }) => tool === 'vegeta').map(({ name }) => name);
    await this.#needTool([...paced, neighbourStudy], () => vegetaOrReason(note));
    await this.#needTool(
      storms.map(({ name }) => name),
      openLoopOrReason,
    );
    const names = able.map(({ name }) => name);
    const left = { ...this.#options, variants: names, workloads: [...this.#wanted] };
    progress.expect(stepsOf(left));
  }

  /** Leaves out what `needing` names where its tool cannot be had. */
  async #needTool(
    needing: readonly string[],
    orReason: () => Promise<string | undefined>,
  ): Promise<void> {
    const wanted = needing.filter((name) => this.#wanted.has(name));
    const why = wanted.length === 0 ? undefined : await orReason();
    if (why !== undefined) {
      this.#wanted = new Set([...this.#wanted].filter((name) => !wanted.includes(name)));
      for (const workload of wanted) {
        for (const { name } of this.#variants) {
          this.#leaveOut({ variant: name, workload, why });
        }
      }
    }
  }

  /** Everything that is measured side by side. */
  async #compare(): Promise<void> {
    const chosen = workloads.filter(({ name }) => this.#wanted.has(name));
    const compared = ['syscalls', neighbourStudy, ...storms.map(({ name }) => name)];
    const wantsStudy = compared.some((name) => this.#wanted.has(name));
    if ((chosen.length === 0 && !wantsStudy) || this.#variants.length === 0) {
      return;
    }
    try {
      await this.#onLab(async (lab) => {
        await this.#startAble(lab);
        for (const mode of Object.keys(modes) as Mode[]) {
          await this.#measure(lab, mode, chosen);
        }
        await this.#countCalls(lab);
        await this.#besideNoise(lab);
        await this.#besideStorms(lab);
      });
    } finally {
      const names = this.#variants.map(({ name }) => name);
      this.#rows.unshift(...chosen.flatMap((each) => summaryOf(each, this.#samples, names)));
    }
  }

  /** On a lab of its own, since a heap does not shrink to what it was. */
  async #memory(): Promise<void> {
    if (!this.#wanted.has('memory')) {
      return;
    }
    const { progress } = this.#options;
    const { engine, ...start } = this.#start();
    this.#httpOnly('memory');
    await this.#onLab(async (lab) => {
      await restartAll(lab, this.#studied(), { ...start, engine: [...idleEngine, ...engine] });
      for (const variant of this.#studied()) {
        progress.note(`memory: ${variant.name}`);
        await this.#alone('memory', variant, () => this.#readMemory(lab, variant));
        progress.done(1);
      }
    });
    const names = this.#variants.map(({ name }) => name);
    this.#rows.push(...memoryRows(this.#readings, names));
  }

  // What fails alone is told, and ends nothing else.
  async #alone(workload: string, { name }: Variant, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#leaveOut({ variant: name, workload, why: MeshError.from(error).message });
    }
  }

  async #readMemory(lab: Lab, variant: Variant): Promise<void> {
    await idleMemory(lab, variant, this.#readings);
    if (variant.name === weft.name) {
      this.#readings.push(...(await podMemory(lab, variant)));
    }
  }

  /** How soon changes are in force. */
  async #propagation(): Promise<void> {
    if (!this.#wanted.has(propagationStudy)) {
      return;
    }
    for (const { name } of this.#variants.filter((each) => !each.meshed)) {
      const why = 'it has no control plane here';
      this.#leaveOut({ variant: name, workload: propagationStudy, why });
    }
    if (this.#variants.includes(weft)) {
      const { name, progress } = this.#options;
      for (const size of meshSizes) {
        await this.#alone(propagationStudy, weft, async () => {
          this.#rows.push(...(await measurePropagation(name, size, progress)));
        });
      }
    }
  }

  // For the first time: who does not start is left out of all that follows; the rest is looked at.
  async #startAble(lab: Lab): Promise<void> {
    const out = new Set<Variant>();
    for (const set of setsOf(this.#variants)) {
      await restartAll(lab, set, this.#start(), (variant, error) => {
        out.add(variant);
        const why = `it does not start: ${MeshError.from(error).message}`;
        this.#leaveOut({ variant: variant.name, why });
      });
      const started = set.filter((each) => !out.has(each));
      this.#proofs.push(...(await verify(lab, started)));
    }
    this.#variants = this.#variants.filter((each) => !out.has(each));
  }

  // What is not a load is measured once for all tiers of a variant.
  #studied(): Variant[] {
    return this.#variants.filter((each) => each.carries === 'tcp' && each.tierOf === undefined);
  }

  // What a mode asks for goes before what the user asks for.
  #start(mode: Mode = 'warm'): StartOptions {
    const { engine, ...start } = modes[mode];
    return { ...start, engine: [...engine, ...this.#options.engine] };
  }

  #leaveOut(what: NotRun): void {
    this.#notRun.push(what);
    const { workload = 'all', variant, why } = what;
    this.#options.progress.note(`${workload} ${variant}: not run: ${why}`);
  }

  #httpOnly(name: string): void {
    for (const each of notCarried([{ name, speaks: 'tcp' }], this.#variants)) {
      this.#leaveOut(each);
    }
  }

  #onLab(work: (lab: Lab) => Promise<void>): Promise<void> {
    const { name, progress } = this.#options;
    const said = (text: string): void => progress.note(text);
    return withBenchLab({ name, variants: this.#variants, progress: said }, work);
  }

  async #measure(lab: Lab, mode: Mode, chosen: readonly Workload[]): Promise<void> {
    const own = chosen.filter((each) => each.mode === mode);
    if (own.length > 0) {
      const options = { ...this.#options, ...this.#start(mode) };
      const measured = { samples: this.#samples, notRun: this.#notRun };
      await runRounds(lab, own, this.#variants, options, measured);
    }
  }

  async #countCalls(lab: Lab): Promise<void> {
    if (!this.#wanted.has('syscalls')) {
      return;
    }
    const { seconds, progress } = this.#options;
    await restartAll(lab, this.#studied(), this.#start());
    this.#httpOnly('syscalls');
    const able = this.#studied().filter((each) => isProxied(lab, each));
    for (const variant of able) {
      progress.note(`system calls: ${variant.name}`);
      await this.#alone('syscalls', variant, async () => {
        this.#syscalls.push(...(await countSyscalls(lab, variant, seconds)));
      });
      progress.done(1);
    }
  }

  async #besideNoise(lab: Lab): Promise<void> {
    if (!this.#wanted.has(neighbourStudy)) {
      return;
    }
    this.#httpOnly(neighbourStudy);
    const able = this.#studied();
    const { rows, notRun } = await measureNeighbour(lab, able, {
      ...this.#options,
      ...this.#start(),
    });
    this.#rows.push(...rows);
    for (const each of notRun) {
      this.#leaveOut(each);
    }
  }

  // Tiers too: handshakes that compute by themselves are one.
  async #besideStorms(lab: Lab): Promise<void> {
    const chosen = storms.filter(({ name }) => this.#wanted.has(name));
    if (chosen.length === 0) {
      return;
    }
    for (const { name } of chosen) {
      this.#httpOnly(name);
    }
    const able = this.#variants.filter(feelsStorm);
    const options = { ...this.#options, ...this.#start(stormMode) };
    const { rows, notRun } = await measureStorms(lab, able, chosen, options);
    this.#rows.push(...rows);
    for (const each of notRun) {
      this.#leaveOut(each);
    }
  }
}

/**
 * Carries out a plan. Does not throw: what cannot run, and what ended the run early (a lab that
 * cannot be built, a variant that is not what it should be), is told in the outcome.
 */
export async function runPlan(options: RunOptions): Promise<Outcome> {
  const run = new Run(options);
  await run.go();
  return run.outcome;
}
