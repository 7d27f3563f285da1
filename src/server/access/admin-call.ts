/** What the administrator's methods on the server's socket share: their parts, their parameters, their audit. */
import { type Clock, type Random, randomUuid } from '#base'
import { type Catalog, recordActivity } from '#catalog'
import { ServerError } from '../errors.ts'
import type { Config } from '../config/schema.ts'
import type { Home } from '../home.ts'
import type { Hosts } from '../hosts/hosts.ts'
import { parameterReader } from '../parameters.ts'

export type AdminParts = Readonly<{
  home: Home
  catalog: Catalog
  clock: Clock
  random: Random
  config: Config
  hosts: Hosts
}>

type Given = Readonly<Record<string, unknown>>

function invalid(what: string): ServerError {
  return new ServerError('request_invalid', `The request has no valid ${what}.`, { facts: { what } })
}

const reader = parameterReader(invalid)

export const fieldsOf: (params: unknown) => Given = reader.fields

export function textOf(fields: Given, name: string): string {
  return reader.text(fields[name], name)
}

export function optionalTextOf(fields: Given, name: string): string | undefined {
  const value = fields[name]
  return value === undefined || value === null ? undefined : reader.text(value, name)
}

export function numberOf(fields: Given, name: string, max: number): number {
  const value = fields[name]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max) return value
  throw invalid(name)
}

export function optionalNumber(fields: Given, name: string, max: number): number | undefined {
  return fields[name] === undefined || fields[name] === null ? undefined : numberOf(fields, name, max)
}

/** Who came over the socket: whoever may read the home, told apart from every principal. */
export const LOCAL_CALLER = 'local-administrator'

/** Writes the change down in the activity log. */
export async function recordChange(
  { catalog, clock, random }: AdminParts,
  action: string,
  resource: string,
  facts: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const id = randomUuid(random)
  const event = { id, correlation: id, atMs: clock.nowMs(), caller: LOCAL_CALLER, action, resource, facts }
  await recordActivity(catalog, { ...event, status: 'Succeeded', httpStatus: 200, operation: undefined })
}
