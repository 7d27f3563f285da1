/** What goes wrong with regions, hosts, pools and stores, in one wording; and finding a region by its name. */
import type { Region } from '#catalog'
import { normalizeLocation } from '#contract'
import { ServerError } from '../errors.ts'

export type PlaceKind = 'region' | 'host' | 'pool' | 'store' | 'driver'

export function notFound(kind: PlaceKind, name: string): ServerError {
  return new ServerError('place_not_found', `There is no ${kind} "${name}".`, {
    facts: { kind, name },
    hint: `See "holdfast ${kind} list".`,
  })
}

export function exists(kind: PlaceKind, name: string): ServerError {
  return new ServerError('place_exists', `There is a ${kind} "${name}" already.`, { facts: { kind, name } })
}

export function invalidPlace(kind: PlaceKind, name: string, hint: string): ServerError {
  return new ServerError('place_invalid', `"${name}" is not possible for a ${kind}.`, { facts: { kind, name }, hint })
}

/** @param why a clause: "it holds 3 files" */
export function inUse(kind: PlaceKind, name: string, why: string): ServerError {
  return new ServerError('place_in_use', `The ${kind} "${name}" is in use: ${why}.`, { facts: { kind, name } })
}

/** @throws ServerError `place_not_found` */
export function regionNamed(regions: readonly Region[], given: string): Region {
  const name = normalizeLocation(given)
  const found = regions.find((region) => region.name === name)
  if (found === undefined) throw notFound('region', given)
  return found
}
