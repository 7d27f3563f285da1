/**
 * What a user need not say each time: the group and the location. The command line says it, else HOLDFAST_GROUP and
 * HOLDFAST_LOCATION, else this user's file, $XDG_CONFIG_HOME/holdfast/defaults.json (XDG Base Directory Specification).
 */
import { mkdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { errnoOf, messageOf } from '#base'
import { replaceFile } from '#runtime'
import { CliError } from '../errors.ts'

export const DEFAULT_NAMES = ['group', 'location'] as const
export type DefaultName = (typeof DEFAULT_NAMES)[number]
export type Defaults = Readonly<Partial<Record<DefaultName, string>>>

type Environment = Readonly<Record<string, string | undefined>>

export function defaultsPath(environment: Environment): string {
  const given = environment['XDG_CONFIG_HOME']
  const folder = given === undefined || given === '' ? join(homedir(), '.config') : given
  return join(folder, 'holdfast', 'defaults.json')
}

function isDefaultName(name: string): name is DefaultName {
  return (DEFAULT_NAMES as readonly string[]).includes(name)
}

/** "group=rg": an empty value takes the default away. @throws CliError `defaults_invalid` */
export function readAssignments(pairs: readonly string[]): ReadonlyMap<DefaultName, string> {
  const found = new Map<DefaultName, string>()
  for (const pair of pairs) {
    const [name = '', ...rest] = pair.split('=')
    if (!isDefaultName(name) || rest.length === 0)
      throw new CliError('defaults_invalid', `"${pair}" is none of ${DEFAULT_NAMES.join('=..., ')}=...`)
    found.set(name, rest.join('='))
  }
  return found
}

/** What the file says. @throws CliError `defaults_invalid` */
export async function readDefaults(environment: Environment): Promise<Defaults> {
  const path = defaultsPath(environment)
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (typeof value !== 'object' || value === null) throw new Error('it holds no object')
    const entries = Object.entries(value).filter(([name, text]) => isDefaultName(name) && typeof text === 'string')
    return Object.fromEntries(entries) as Defaults
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return {}
    throw new CliError('defaults_invalid', `The defaults in ${path} cannot be read: ${messageOf(cause)}.`, {
      facts: { path },
      hint: 'Correct the file or delete it.',
      cause,
    })
  }
}

export async function writeDefaults(environment: Environment, defaults: Defaults): Promise<void> {
  const path = defaultsPath(environment)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await replaceFile(path, [new TextEncoder().encode(`${JSON.stringify(defaults, undefined, 2)}\n`)])
}

/** What holds for this command: the environment before the file. */
export async function effectiveDefaults(environment: Environment): Promise<Defaults> {
  const kept = await readDefaults(environment)
  const { HOLDFAST_GROUP: group = '', HOLDFAST_LOCATION: location = '' } = environment
  return { ...kept, ...(group !== '' && { group }), ...(location !== '' && { location }) }
}
