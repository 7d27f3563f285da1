/** docs/decisions/0001-dependencies.md names every package of package.json with its exact version, and no other. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const KINDS = ['dependencies', 'devDependencies', 'optionalDependencies'] as const
/** A package under another name: `npm:@azure/arm-compute@23.3.0`. */
const ALIAS = /^npm:(@[\w.-]+\/)?[\w.-]+@/
type Packages = Record<string, string>

/** Rows "| `name`, `name` | version | why |". */
function recorded(text: string): Packages {
  const rows = Array.from(text.matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \| (\S+) \| \S.*\|$/gm))
  const named = rows.flatMap(([, names = '', version = '']) =>
    Array.from(names.matchAll(/`([^`]+)`/g), ([, name = '']) => [name, version] as const),
  )
  return Object.fromEntries(named)
}

function declared(text: string): Packages {
  const manifest = JSON.parse(text) as Partial<Record<(typeof KINDS)[number], Packages>>
  const all = Object.assign({}, ...KINDS.map((kind) => manifest[kind] ?? {})) as Packages
  return Object.fromEntries(Object.entries(all).map(([name, version]) => [name, version.replace(ALIAS, '')]))
}

test('the record of dependencies names every package with its exact version and no other', () => {
  const packages = declared(readFileSync('package.json', 'utf8'))
  for (const [name, version] of Object.entries(packages))
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is not exact`)
  assert.deepEqual(recorded(readFileSync('docs/decisions/0001-dependencies.md', 'utf8')), packages)
})

test('package-lock.json has a hash for every package that is installed here; only tools for other platforms lack one', () => {
  type Locked = Readonly<{
    integrity?: string
    optional?: boolean
    dev?: boolean
    os?: string[]
    libc?: string[]
    cpu?: string[]
  }>
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Locked> }
  const unhashed = Object.entries(packages).filter(([path, { integrity }]) => path !== '' && integrity === undefined)
  for (const [path, { optional, dev, os, libc, cpu }] of unhashed) {
    assert.ok(optional === true && dev === true, `${path} is no optional tool`)
    const isOurs = os?.includes('linux') === true && cpu?.includes('x64') === true && libc?.includes('musl') !== true
    assert.ok(!isOurs, `${path} is for Linux on x64`)
  }
})

test('a package that is not recorded, or of another version, is noticed', () => {
  const record = '| `a`, `b` | 1.0.0 | why |\n| `c` | 2.0.0 | why |\n| `d` | 3.0.0 | |'
  assert.deepEqual(recorded(record), { a: '1.0.0', b: '1.0.0', c: '2.0.0' })
  assert.notDeepEqual(
    recorded(record),
    declared('{"dependencies":{"a":"1.0.1","b":"1.0.0"},"devDependencies":{"c":"2.0.0"}}'),
  )
})
