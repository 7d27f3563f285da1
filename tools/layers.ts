/**
 * Which part of src/ may import which; nothing else decides. `findBreaches` is pure, so that a test can plant breaches
 * in it: a gate that cannot fail is no gate.
 *
 * A part is reached from outside only through its index.ts, as `#part`; inside a part, imports are relative and stay inside.
 */

export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  runtime: ['base'],
  contract: ['base'],
  domain: ['base'],
  'engine/repository': ['base', 'runtime'],
  'engine/block': ['base', 'runtime'],
  'engine/hypervisor': ['base', 'runtime'],
  'engine/transfer': ['base', 'runtime', 'engine/repository', 'engine/block', 'engine/hypervisor'],
  catalog: ['base', 'runtime', 'domain'],
  jobs: [
    'base',
    'runtime',
    'domain',
    'catalog',
    'engine/repository',
    'engine/block',
    'engine/hypervisor',
    'engine/transfer',
  ],
  api: ['base', 'runtime', 'contract', 'domain', 'catalog', 'jobs'],
  cli: [
    'base',
    'runtime',
    'contract',
    'domain',
    'engine/repository',
    'engine/block',
    'engine/hypervisor',
    'engine/transfer',
    'server',
  ],
  portal: ['base', 'contract'],
  server: [
    'base',
    'runtime',
    'contract',
    'domain',
    'engine/repository',
    'engine/block',
    'engine/hypervisor',
    'engine/transfer',
    'catalog',
    'jobs',
    'api',
  ],
}

/** Packages that a part may import besides node: modules. Parts that are not named may import none. */
export const MAY_IMPORT_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  runtime: ['pino'],
  'engine/repository': ['@aws-sdk/client-s3'],
  domain: ['croner'],
  contract: ['typebox', 'typebox/value'],
  catalog: ['kysely', 'kysely/migration'],
  api: ['fastify', 'jose', 'prom-client', 'typebox'],
  jobs: ['croner', 'kysely'],
  cli: ['commander', '@clack/prompts', 'yaml', '@jmespath-community/jmespath'],
  server: ['yaml'],
}

const PURE_PARTS = new Set(['base', 'domain', 'contract'])

export type SourceFile = Readonly<{ path: string; text: string }>
export type Breach = Readonly<{ path: string; imported: string; reason: string }>

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g

/** Every module specifier that the text imports, re-exports or loads lazily. */
export function importsOf(text: string): string[] {
  return Array.from(text.matchAll(IMPORT), (match) => match[1] ?? match[2] ?? match[3] ?? '')
}

/** The part that a path under src/ belongs to: the longest row of the table that is a prefix of it. */
export function partOf(path: string): string | undefined {
  const inside = path.replace(/^src\//, '')
  const rows = Object.keys(MAY_IMPORT).filter((part) => inside.startsWith(`${part}/`))
  return rows.sort((a, b) => b.length - a.length)[0]
}

function resolveRelative(fromPath: string, specifier: string): string {
  const segments = fromPath.split('/').slice(0, -1)
  for (const segment of specifier.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '.') segments.push(segment)
  }
  return segments.join('/')
}

function breachOf(file: SourceFile, part: string, specifier: string): string | undefined {
  const isTest = /\.(test|contract)\.ts$/.test(file.path)
  if (specifier.startsWith('.')) {
    const target = partOf(resolveRelative(file.path, specifier))
    return target === part ? undefined : `a relative import leaves the part ${part}`
  }
  if (specifier.startsWith('#')) {
    const target = specifier.slice(1)
    if (!(target in MAY_IMPORT)) return `${specifier} is not a part; only a part's index.ts may be imported`
    return MAY_IMPORT[part]?.includes(target) ? undefined : `${part} may not import ${target}`
  }
  if (isTest) return undefined
  if (specifier.startsWith('node:'))
    return PURE_PARTS.has(part) ? `${part} is pure and may not import ${specifier}` : undefined
  return MAY_IMPORT_PACKAGES[part]?.includes(specifier) ? undefined : `${part} may not import the package ${specifier}`
}

/** Holds the files against the table. Throws when it was given no file at all: then the gate itself is broken. */
export function findBreaches(files: readonly SourceFile[]): Breach[] {
  if (files.length === 0) throw new Error('The layer check read no file: it cannot have checked anything.')
  const breaches: Breach[] = []
  for (const file of files) {
    const part = partOf(file.path)
    if (part === undefined) {
      breaches.push({ path: file.path, imported: '', reason: 'the file belongs to no part of the layer table' })
      continue
    }
    for (const imported of importsOf(file.text)) {
      const reason = breachOf(file, part, imported)
      if (reason !== undefined) breaches.push({ path: file.path, imported, reason })
    }
  }
  return breaches
}
