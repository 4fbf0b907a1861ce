// SPDX-License-Identifier: Apache-2.0
// Reads what objdump prints of functions that handle secrets, and finds instructions of which the
// time or the address may depend on one. A sieve beside MemorySanitizer: that sees what another
// compiler makes of the source, this sees what is shipped.

/** One instruction; operands in the order of AT&T, the last one is written. */
interface Instruction {
  readonly address: number;
  readonly op: string;
  readonly operands: readonly string[];
  readonly text: string;
}

interface Body {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** For each instruction, those that may run just before it. */
  readonly before: readonly (readonly number[])[];
}

// Addresses by a vector, division, and a loop by the count register.
const refusedOps = /^(v?p?gather|v?p?scatter|i?div|v?div|v?sqrt|loop)/;
const conditional = /^j(?!mp)/;
const flagWriters =
  /^(cmp|test|add|sub|adc|sbb|inc|dec|neg|and|or|xor|sh[lr]|sa[lr]|bt|i?mul|popcnt|[lt]zcnt|bs[fr]|k(or)?test|v?ptest|vtest|v?u?comis)/;
/** What the end of a loop may be told from. */
const countingFlags = /^(cmp|test|add|sub|inc|dec)[bwlq]?$/;
const movers = /^(mov[bwlq]?|movabs|lea[lq]?|movslq|cltq|push|movz[bw][lq]?)$/;
const counters = /^(add|sub|inc|dec|neg|imul|sh[lr]|sa[lr])[bwlq]?$/;
const readers = /^(cmp|test|j|bt[lqw]?$|nop|push|prefetch|ret)/;

/** "%eax", "%al" and "%ax" to "%rax", "%r8d" to "%r8"; undefined for what is no such register. */
function wholeRegister(operand: string): string | undefined {
  const [, numbered] = /^%(r\d+)[bwd]?$/.exec(operand) ?? [];
  const [, letter] = /^%[re]?([abcd])[xlh]$/.exec(operand) ?? [];
  const [, named] = /^%[re]?(si|di|bp|sp)l?$/.exec(operand) ?? [];
  if (numbered !== undefined) {
    return `%${numbered}`;
  }
  return letter === undefined ? named && `%r${named}` : `%r${letter}x`;
}

const isSlot = (operand: string): boolean => /^(-?0x[0-9a-f]+)?\(%r[sb]p\)$/.test(operand);
const isImmediate = (operand: string): boolean => operand.startsWith('$');
/** What is at a fixed place: guards of what is made once. */
const isFixed = (operand: string): boolean => /^(0x[0-9a-f]+|\d+)?\(%rip\)$/.test(operand);

function instructionOf(line: string): Instruction | undefined {
  const [, address, text] = /^\s*([0-9a-f]+):\t(.*)$/.exec(line) ?? [];
  if (address === undefined || text === undefined) {
    return undefined;
  }
  const words = text.trim().replace(/^((notrack|bnd|lock|data16|cs|ds)\s+)+/, '');
  const [, op = '', rest = ''] = /^(\S+)\s*(.*)$/.exec(words) ?? [];
  // Commas within parentheses belong to one address.
  const operands = rest.replace(/\s*[<#].*$/, '').match(/(?:\([^)]*\)|[^,(])+/g) ?? [];
  const trimmed = operands.map((each) => each.trim());
  return { address: Number.parseInt(address, 16), op, operands: trimmed, text: words };
}

function beforeEach(instructions: readonly Instruction[]): number[][] {
  const places = new Map(instructions.map(({ address }, index) => [address, index]));
  const before: number[][] = instructions.map(() => []);
  for (const [index, { op, operands }] of instructions.entries()) {
    if (!/^(jmp|ret|ud2)/.test(op)) {
      before[index + 1]?.push(index);
    }
    const target = op.startsWith('j') ? Number.parseInt(operands[0] ?? '', 16) : Number.NaN;
    before[places.get(target) ?? -1]?.push(index);
  }
  return before;
}

function bodiesIn(listing: string): Body[] {
  const bodies: { name: string; instructions: Instruction[] }[] = [];
  for (const line of listing.split('\n')) {
    const [, name] = /^[0-9a-f]+ <(.+)>:$/.exec(line) ?? [];
    // A relocation names what the instruction before it calls.
    const [, callee] = /^\s+[0-9a-f]+: R_X86_64_\w+\t([^-+\s]+)/.exec(line) ?? [];
    const instructions = bodies.at(-1)?.instructions;
    const last = instructions?.at(-1);
    const instruction = instructionOf(line);
    if (name !== undefined) {
      bodies.push({ name, instructions: [] });
    } else if (callee !== undefined && last !== undefined) {
      instructions?.splice(-1, 1, { ...last, text: `${last.text} ${callee}` });
    } else if (instruction !== undefined) {
      instructions?.push(instruction);
    }
  }
  return bodies.map((each) => ({ ...each, before: beforeEach(each.instructions) }));
}

function writes({ op, operands }: Instruction, place: string): boolean {
  if (op.startsWith('call')) {
    // What it returns. A register that it spoils is not read after it, and a compiler that knows the
    // function may keep others.
    return place === '%rax';
  }
  const last = operands.at(-1) ?? '';
  return !readers.test(op) && (wholeRegister(last) ?? last) === place;
}

/** The instructions `wanted` that may be the last before `at`; -1 stands for the function's start. */
function lastBefore(body: Body, at: number, wanted: (each: Instruction) => boolean): number[] {
  const found = new Set<number>();
  const seen = new Set<number>();
  const rest = [at];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (next === 0) {
      found.add(-1);
    }
    for (const index of body.before[next] ?? []) {
      const instruction = body.instructions[index];
      if (instruction !== undefined && wanted(instruction)) {
        found.add(index);
      } else if (!seen.has(index)) {
        seen.add(index);
        rest.push(index);
      }
    }
  }
  return [...found];
}

/** One question about counters: what it has looked at already holds, as long as nothing else fails. */
class Counting {
  readonly #body: Body;
  readonly #asked = new Set<string>();

  constructor(body: Body) {
    this.#body = body;
  }

  /** True where `operand`, before instruction `at`, is a constant, counter, address or argument. */
  holds(operand: string, at: number): boolean {
    if (/^%r[si]p$/.test(operand)) {
      return true;
    }
    const place = wholeRegister(operand) ?? (isSlot(operand) ? operand : undefined);
    if (place === undefined) {
      return isImmediate(operand) || isFixed(operand);
    }
    const key = `${place} ${at}`;
    if (this.#asked.has(key)) {
      return true;
    }
    this.#asked.add(key);
    const writers = lastBefore(this.#body, at, (each) => writes(each, place));
    return writers.every((writer) => (writer < 0 ? !isSlot(place) : this.#gives(writer)));
  }

  /** True where what instruction `at` writes is one of those. */
  #gives(at: number): boolean {
    const { op, operands, text } = this.#body.instructions[at] ?? {
      op: '',
      operands: [],
      text: '',
    };
    if (op.startsWith('call')) {
      return text.endsWith('__cxa_guard_acquire');
    }
    if (/^xor[lq]?$/.test(op) && operands[0] === operands[1]) {
      return true;
    }
    if (op.startsWith('lea')) {
      return (operands[0]?.match(/%\w+/g) ?? []).every((each) => this.holds(each, at));
    }
    const sources = movers.test(op) ? operands.slice(0, -1) : operands;
    return (movers.test(op) || counters.test(op)) && sources.every((each) => this.holds(each, at));
  }
}

/** What may have set the flags that the jump at `at` looks at. */
function settersOf(body: Body, at: number): (Instruction | undefined)[] {
  const isSetter = ({ op }: Instruction): boolean => flagWriters.test(op) || op.startsWith('call');
  return lastBefore(body, at, isSetter).map((index) => body.instructions[index]);
}

/** True where `setter` compares or counts nothing but constants, counters, addresses, arguments. */
function isCounting(body: Body, setter: Instruction | undefined): boolean {
  return (
    setter !== undefined &&
    countingFlags.test(setter.op) &&
    setter.operands.every((operand) =>
      new Counting(body).holds(operand, body.instructions.indexOf(setter)),
    )
  );
}

/**
 * What in a listing (objdump -d -r --no-show-raw-insn) must not be in a function that handles
 * secrets: gathers and scatters, divisions, jumps to a computed place, and conditional jumps but
 * those whose flags come from comparing or counting registers that hold constants, counters,
 * addresses, or arguments of the function. Each line says "function: instruction", a jump with what
 * set its flags.
 */
export function leaksIn(listing: string): string[] {
  return bodiesIn(listing).flatMap((body) =>
    body.instructions.flatMap(({ op, operands, text }, at) => {
      if (refusedOps.test(op) || (/^(jmp|call)/.test(op) && operands[0]?.startsWith('*'))) {
        return [`${body.name}: ${text}`];
      }
      const setters = conditional.test(op) ? settersOf(body, at) : [];
      return setters
        .filter((setter) => !isCounting(body, setter))
        .map((setter) => `${body.name}: ${setter?.text ?? 'nothing'}; ${op}`);
    }),
  );
}
