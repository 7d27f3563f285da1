/**
 * Holds a body as it goes over the wire against the mappers of an older generation of the SDKs, which carry Azure's own
 * specification as data: names, types, what is required, what values an enumeration has. Stricter than the SDK is: a name
 * that the specification does not have is told too, for no client would ever read it.
 */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

type MapperType = Readonly<{
  name: string
  className?: string
  modelProperties?: Readonly<Record<string, Mapper>>
  element?: Mapper
  value?: Mapper
  allowedValues?: readonly unknown[]
}>
export type Mapper = Readonly<{ serializedName?: string; required?: boolean; type: MapperType }>
export type Mappers = Readonly<Record<string, Mapper>>

/** A name in an object: what it must be, or what is known inside of it. */
type Known = { mapper?: Mapper; required: boolean; inside: Map<string, Known> }

const MAPPERS = ['dist/esm/models/mappers.js', 'dist-esm/src/models/mappers.js']
const ISO_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

/** The mappers of an installed package: a file of it that it does not export. */
export async function mappersOf(packageName: string): Promise<Mappers> {
  const folder = resolve(import.meta.dirname, '../../node_modules', packageName)
  const found = MAPPERS.map((path) => join(folder, path)).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`${packageName} has no mappers in ${folder}.`)
  return (await import(pathToFileURL(found).href)) as Mappers
}

function knownIn(mappers: Mappers, type: MapperType): Map<string, Known> {
  const known = new Map<string, Known>()
  const properties = type.modelProperties ?? mappers[type.className ?? '']?.type.modelProperties ?? {}
  for (const mapper of Object.values(properties)) {
    const path = (mapper.serializedName ?? '').replaceAll('\\.', '\0').split('.')
    let level = known
    for (const [i, name] of path.map((name) => name.replaceAll('\0', '.')).entries()) {
      const entry: Known = level.get(name) ?? { required: false, inside: new Map() }
      if (i === path.length - 1) entry.mapper = mapper
      entry.required ||= mapper.required === true
      level.set(name, entry)
      level = entry.inside
    }
  }
  return known
}

function checkObject(mappers: Mappers, known: Map<string, Known>, value: unknown, at: string): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${at} is no object`]
  const given = value as Record<string, unknown>
  const missing = Array.from(known)
    .filter(([name, { required }]) => required && (given[name] === undefined || given[name] === null))
    .map(([name]) => `${at}.${name} is missing`)
  const wrong = Object.entries(given).flatMap(([name, inner]) => {
    const entry = known.get(name)
    if (entry === undefined) return [`${at}.${name} is unknown`]
    if (inner === undefined || inner === null) return []
    return entry.mapper === undefined
      ? checkObject(mappers, entry.inside, inner, `${at}.${name}`)
      : checkValue(mappers, entry.mapper, inner, `${at}.${name}`)
  })
  return [...missing, ...wrong]
}

function checkValue(mappers: Mappers, { type }: Mapper, value: unknown, at: string): string[] {
  const must = (holds: boolean): string[] => (holds ? [] : [`${at} is no ${type.name}: ${JSON.stringify(value)}`])
  switch (type.name) {
    case 'Composite':
      return checkObject(mappers, knownIn(mappers, type), value, at)
    case 'Sequence':
      return Array.isArray(value)
        ? value.flatMap((one, i) =>
            type.element === undefined ? [] : checkValue(mappers, type.element, one, `${at}[${i}]`),
          )
        : must(false)
    case 'Dictionary':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).flatMap(([name, one]) =>
            type.value === undefined ? [] : checkValue(mappers, type.value, one, `${at}.${name}`),
          )
        : must(false)
    case 'Enum':
      return must(type.allowedValues?.includes(value) === true)
    case 'Number':
      return must(typeof value === 'number')
    case 'Boolean':
      return must(typeof value === 'boolean')
    case 'DateTime':
      return must(typeof value === 'string' && ISO_TIME.test(value))
    case 'String':
    case 'Uuid':
    case 'TimeSpan':
      return must(typeof value === 'string')
    default:
      return []
  }
}

/** What of `body` is not as the model `name` has it; empty when all is. */
export function breaches(mappers: Mappers, name: string, body: unknown): string[] {
  const mapper = mappers[name]
  if (mapper === undefined) throw new Error(`There is no model ${name}.`)
  return checkValue(mappers, mapper, body, name)
}
