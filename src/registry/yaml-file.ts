// SPDX-License-Identifier: Apache-2.0
// Reads one YAML file of manifests, and says where each complaint stands in it.
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseAllDocuments,
  visit,
} from 'yaml';
import { MeshError } from '../lib/error.ts';
import type { MeshObject } from '../mesh/objects.ts';
import type { FieldProblem } from '../mesh/policy.ts';
import { denyListReaders } from './deny-list.ts';
import { endpointSliceReaders } from './endpoint-slice.ts';
import type { Reader } from './fields.ts';
import { kubernetesReaders } from './kubernetes.ts';
import { meshConfigReaders } from './mesh-config.ts';
import { networkingReaders } from './networking.ts';
import { fieldText, type Place, type Problem } from './problem.ts';
import { securityReaders } from './security.ts';

/** An object and the document it came from. */
export interface PlacedObject {
  readonly object: MeshObject;
  readonly place: Place;
}

/** Everything in one file. With any problem of severity `error` the objects must not be used. */
export interface ParsedFile {
  readonly objects: readonly PlacedObject[];
  readonly problems: readonly Problem[];
  /** By their text, so that the next version of the file is parsed only where it differs. */
  readonly documents: ReadonlyMap<string, ParsedDocument>;
}

/** Everything in one document. */
export interface ParsedDocument {
  /** The line it began at, from 1. */
  readonly line: number;
  readonly objects: readonly PlacedObject[];
  readonly problems: readonly Problem[];
  /** How many problems were left out. */
  readonly untold: number;
}

/** Largest file that is read. */
export const fileBytesMax: number = 4 * 1024 * 1024;

/** Most brackets open at once: the parser takes a kilobyte and more for each. */
export const nestingMax = 256;

/** Most problems that are told of one file; of the rest only how many there are. */
export const problemsMax = 50;

/** Most characters of a file that one problem repeats, in its field and in its message. */
export const toldMax = 500;

/** Most documents that are read of one file. */
export const documentsMax = 20_000;

// A manifest has little use for aliases, and a few nested ones can stand for gigabytes.
const aliasesMax = 100;

const readers: ReadonlyMap<string, Reader> = new Map(
  Object.entries({
    ...kubernetesReaders,
    ...endpointSliceReaders,
    ...securityReaders,
    ...networkingReaders,
    ...denyListReaders,
    ...meshConfigReaders,
  }),
);

const listFields: readonly string[] = ['apiVersion', 'kind', 'metadata', 'items'];

function isList(manifest: unknown): manifest is object {
  const { apiVersion, kind } = (manifest ?? {}) as { apiVersion?: unknown; kind?: unknown };
  return apiVersion === 'v1' && kind === 'List';
}

type YamlDocument = Document.Parsed<ParsedNode, true>;

// Collects what one document holds, or a text that cannot be split into documents.
class DocumentParser {
  readonly objects: PlacedObject[] = [];
  readonly problems: Problem[] = [];
  untold = 0;
  readonly line: number;
  readonly #file: string;
  readonly #lines: LineCounter = new LineCounter();

  constructor(file: string, line: number) {
    this.#file = file;
    this.line = line;
  }

  #lineAt(offset: number): number {
    return this.line - 1 + Math.max(1, this.#lines.linePos(offset).line);
  }

  fail(line: number, field: string, message: string): void {
    if (this.problems.length < problemsMax) {
      const told = { field: clipped(field), message: clipped(message) };
      this.problems.push({ severity: 'error', file: this.#file, line, ...told });
    } else {
      this.untold += 1;
    }
  }

  // The line of the deepest part of the path that the document has.
  #lineOf(document: YamlDocument, path: FieldProblem['path']): number {
    let node: unknown = document.contents;
    let offset = document.contents?.range[0] ?? document.range[0];
    for (const part of path) {
      const child = childOf(node, part);
      if (child === undefined) {
        break;
      }
      offset = child.offset;
      node = child.node;
    }
    return this.#lineAt(offset);
  }

  #read(document: YamlDocument): void {
    const manifest: unknown = document.toJS({ maxAliasCount: aliasesMax });
    if (isList(manifest)) {
      this.#readList(document, manifest);
    } else {
      this.#readObject(document, manifest, []);
    }
  }

  // What `kubectl get -o yaml` prints of several objects.
  #readList(document: YamlDocument, list: object): void {
    const items = 'items' in list ? list.items : undefined;
    if (!Array.isArray(items)) {
      this.fail(this.#lineOf(document, ['items']), 'items', 'not a list');
      return;
    }
    for (const key of Object.keys(list)) {
      if (!listFields.includes(key)) {
        this.fail(this.#lineOf(document, [key]), key, 'unknown field');
      }
    }
    for (const [index, item] of items.entries()) {
      this.#readObject(document, item, ['items', index]);
    }
  }

  #readObject(document: YamlDocument, manifest: unknown, at: FieldProblem['path']): void {
    const failAt = ({ path, message }: FieldProblem): void => {
      const whole = [...at, ...path];
      // Where it stands is looked for only as long as it is told.
      const line = this.problems.length < problemsMax ? this.#lineOf(document, whole) : this.line;
      this.fail(line, fieldText(whole), message);
    };
    if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) {
      failAt({ path: [], message: 'a manifest is a map with apiVersion and kind' });
      return;
    }
    const { apiVersion, kind } = manifest as { apiVersion?: unknown; kind?: unknown };
    const reader = readers.get(`${String(apiVersion)}/${String(kind)}`);
    if (reader === undefined) {
      const known = `known are ${[...readers.keys()].join(', ')}`;
      const message = `${String(kind)} of ${String(apiVersion)} is not a known kind; ${known}`;
      failAt({ path: ['kind'], message });
      return;
    }
    const result = reader(manifest);
    if (result.ok) {
      const place = { file: this.#file, line: this.#lineOf(document, at) };
      this.objects.push({ object: result.object, place });
    } else {
      result.problems.forEach(failAt);
    }
  }

  #document(document: YamlDocument): void {
    for (const error of document.errors) {
      this.fail(this.#lineAt(error.pos[0]), '', `not YAML: ${error.message}`);
    }
    const repeated = repeatedKeys(document);
    for (const offset of repeated) {
      this.fail(this.#lineAt(offset), '', 'not YAML: Map keys must be unique');
    }
    const empty = document.contents === null || isEmptyScalar(document.contents);
    if (document.errors.length + repeated.length > 0 || empty) {
      return;
    }
    try {
      this.#read(document);
    } catch (error) {
      this.fail(this.#lineOf(document, []), '', MeshError.from(error).message);
    }
  }

  parse(text: string): void {
    try {
      if (isNestedTooDeep(text)) {
        this.fail(this.line, '', `more than ${nestingMax} brackets are open at once`);
      } else {
        this.#parse(text);
      }
    } catch (error) {
      this.fail(this.line, '', `cannot be parsed: ${MeshError.from(error).message}`);
    }
  }

  #parse(text: string): void {
    const parsed = parseAllDocuments(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      // Its check compares each key with all before it: minutes for a large map. See repeatedKeys().
      uniqueKeys: false,
      // Numbers stay as they are written only in strings, so the JSON-like core schema is enough.
      schema: 'core',
    });
    const documents: readonly YamlDocument[] = Array.isArray(parsed) ? parsed : [];
    if (documents.length > documentsMax) {
      this.fail(this.line, '', tooMany(documents.length));
      return;
    }
    for (const document of documents) {
      this.#document(document);
    }
  }
}

function clipped(text: string): string {
  return text.length > toldMax ? `${text.slice(0, toldMax)}…` : text;
}

// Where keys stand that their map has before them. Keys that make the same property are the same.
function repeatedKeys(document: YamlDocument): number[] {
  const offsets: number[] = [];
  visit(document, {
    Map(_, { items }) {
      const seen = new Set<string>();
      for (const { key } of items) {
        if (isScalar(key)) {
          const name = String(key.value);
          if (seen.has(name)) {
            offsets.push(offsetOf(key));
          }
          seen.add(name);
        }
      }
    },
  });
  return offsets;
}

function tooMany(count: number): string {
  return `${count} documents, over the limit of ${documentsMax}`;
}

function isEmptyScalar(node: unknown): boolean {
  return isScalar(node) && node.value === null;
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}

function childOf(
  node: unknown,
  part: string | number,
): { readonly node: unknown; readonly offset: number } | undefined {
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && key.value === part);
    return pair === undefined ? undefined : { node: pair.value, offset: offsetOf(pair.key) };
  }
  if (isSeq(node) && typeof part === 'number') {
    const item = node.items[part];
    return item === undefined ? undefined : { node: item, offset: offsetOf(item) };
  }
  return undefined;
}

// Counts brackets whatever they stand in: text with so many that nothing closes is no manifest.
function isNestedTooDeep(text: string): boolean {
  let depth = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    depth = bracket === '[' || bracket === '{' ? depth + 1 : Math.max(0, depth - 1);
    if (depth > nestingMax) {
      return true;
    }
  }
  return false;
}

interface TextPart {
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

// A line of --- ends a document whatever it stands in (YAML 1.2 section 9.1.2). Directives and
// explicit ends are rare, and leave the text in one piece.
function partsOf(text: string): TextPart[] {
  if (/^(%|\.\.\.)/m.test(text)) {
    return [{ text, line: 1 }];
  }
  const starts = Array.from(text.matchAll(/^---(?=\s|$)/gm), ({ index }) => index);
  let line = 1;
  return [0, ...starts.filter((start) => start > 0)].map((start, index, all) => {
    const part = { text: text.slice(start, all[index + 1]), line };
    line += part.text.split('\n').length - 1;
    return part;
  });
}

// The same document, further up or down in its file.
function moved(document: ParsedDocument, line: number): ParsedDocument {
  const by = line - document.line;
  if (by === 0) {
    return document;
  }
  return {
    line,
    objects: document.objects.map(({ object, place }) => {
      return { object, place: { ...place, line: place.line + by } };
    }),
    problems: document.problems.map((problem) => ({ ...problem, line: problem.line + by })),
    untold: document.untold,
  };
}

function parsePart(file: string, { text, line }: TextPart): ParsedDocument {
  const parser = new DocumentParser(file, line);
  // A copy: the objects hold on to the text they were read from, which must not be the whole file.
  parser.parse(Buffer.from(text).toString());
  const { objects, problems, untold } = parser;
  return { line, objects, problems, untold };
}

/** A file that cannot be used, and why. */
export function problemFile(file: string, message: string): ParsedFile {
  const problem: Problem = { severity: 'error', file, line: 1, field: '', message };
  return { objects: [], problems: [problem], documents: new Map() };
}

function fileOf(file: string, all: readonly ParsedDocument[]): Omit<ParsedFile, 'documents'> {
  const problems = all.flatMap((document) => document.problems);
  const untold =
    all.reduce((sum, document) => sum + document.untold, 0) +
    Math.max(0, problems.length - problemsMax);
  const objects = all.flatMap((document) => document.objects);
  if (untold === 0) {
    return { objects, problems };
  }
  const more = `${untold} more problems in this file`;
  return {
    objects,
    problems: [...problems.slice(0, problemsMax), ...problemFile(file, more).problems],
  };
}

/**
 * Parses the text of a file. It never throws: whatever is wrong becomes a problem.
 *
 * @param before the file as it last was: the objects of documents with the same text are the same.
 */
export function parseManifests(file: string, text: string, before?: ParsedFile): ParsedFile {
  if (Buffer.byteLength(text) > fileBytesMax) {
    return problemFile(file, `larger than ${fileBytesMax} bytes`);
  }
  const parts = partsOf(text);
  if (parts.length > documentsMax) {
    return problemFile(file, tooMany(parts.length));
  }
  const documents = new Map<string, ParsedDocument>();
  const all = parts.map((part) => {
    // Of two with the same text each has objects of its own, which then contradict each other.
    const known = documents.has(part.text) ? undefined : before?.documents.get(part.text);
    const document = known === undefined ? parsePart(file, part) : moved(known, part.line);
    documents.set(part.text, document);
    return document;
  });
  return { ...fileOf(file, all), documents };
}
