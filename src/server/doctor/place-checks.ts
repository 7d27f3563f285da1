/** Pools and stores: whether they answer, have space above their reserve, stand on devices and clocks of their own. */
import { type Clock, formatBytes, messageOf } from '#base'
import type { CatalogInspection } from '#catalog'
import { openStore } from '#engine/repository'
import type { Config } from '../config/schema.ts'
import { type FolderFacts, folderFacts, tryFolder } from '../places/check-folder.ts'
import { folderOf } from '../places/space-methods.ts'
import { failed, type Finding, warning, well } from './finding.ts'

const CLOCK_SKEW_MS_MAX = 60_000
const ANSWER_MS_MAX = 20_000

type Place = Readonly<{
  check: string
  region: string
  folder: string | undefined
  location: string
  reserveBytes: number
}>

export function placesOf({ pools, stores }: CatalogInspection, { reserve }: Config): Place[] {
  // Pools of hosts elsewhere cannot be looked at from here; "host list" and the alarms tell of them.
  const here = pools.filter(({ host }) => host === undefined)
  const pool = (one: CatalogInspection['pools'][number]): Place => {
    const { region, name, path, reserveBytes } = one
    return { check: `pool ${region}/${name}`, region, folder: path, location: path, reserveBytes }
  }
  const store = ({ region, name, location }: CatalogInspection['stores'][number]): Place => {
    const folder = folderOf(location)
    return { check: `store ${region}/${name}`, region, folder, location, reserveBytes: reserve.store }
  }
  return [...here.map(pool), ...stores.map(store)]
}

/** Pure: findings about devices that several regions share. */
export function sharedDevices(places: readonly Readonly<{ region: string; device: string }>[]): Finding[] {
  const regions = Map.groupBy(places, ({ device }) => device)
  const found: Finding[] = []
  for (const [device, list] of regions) {
    const names = [...new Set(list.map(({ region }) => region))].sort()
    if (names.length < 2) continue
    const says = `The regions ${names.join(' and ')} share a device (${device}): one fault would take both.`
    found.push(warning('devices', says, 'For more than a trial, put a region’s pools and stores on disks of its own.'))
  }
  return found.length > 0 || places.length === 0 ? found : [well('devices', 'No two regions share a device.')]
}

async function checkFolder({
  check,
  folder,
  reserveBytes,
}: Place): Promise<readonly [Finding, FolderFacts | undefined]> {
  const path = folder ?? ''
  try {
    const facts = await folderFacts(path)
    await tryFolder(path)
    const says = `${path}: ${formatBytes(facts.freeBytes)} free, ${formatBytes(reserveBytes)} of it reserved.`
    if (facts.freeBytes > reserveBytes) return [well(check, says), facts]
    return [failed(check, says, 'Free or add space there: no work is done that needs more.'), facts]
  } catch (error) {
    const remedy = 'Mount it or give the server’s user the right to write there; or remove it from its region.'
    return [failed(check, `${path} cannot be used: ${messageOf(error)}`, remedy), undefined]
  }
}

async function askTime(location: string): Promise<number | undefined> {
  const store = await openStore(location)
  try {
    return await store.timeMs()
  } finally {
    await store.close()
  }
}

/** @throws when there is no answer in time; the question goes on by itself */
async function inTime<T>(clock: Clock, ask: () => Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = async (): Promise<never> => {
    await clock.sleep(ANSWER_MS_MAX, over.signal)
    throw new Error(`no answer within ${ANSWER_MS_MAX / 1000} s`)
  }
  try {
    return await Promise.race([ask(), late()])
  } finally {
    over.abort()
  }
}

/** A bucket answers; its clock, or that of a folder on another machine, agrees with ours. */
async function checkStore(place: Place, clock: Clock): Promise<Finding> {
  const { check, location } = place
  const beforeMs = clock.nowMs()
  try {
    const theirsMs = await inTime(clock, () => askTime(location))
    if (theirsMs === undefined) return well(`${check} clock`, 'It has no clock but this host’s.')
    const skewMs = Math.max(beforeMs - theirsMs, theirsMs - clock.nowMs(), 0)
    const says = `Its clock is ${skewMs === 0 ? 'the same as' : `${Math.round(skewMs / 1000)} s apart from`} this host’s.`
    if (skewMs <= CLOCK_SKEW_MS_MAX) return well(`${check} clock`, says)
    return failed(`${check} clock`, says, 'Put both clocks right (NTP): locks and retention are counted by them.')
  } catch (error) {
    return failed(
      check,
      `${location} does not answer: ${messageOf(error)}`,
      'Look at its network, credentials and health.',
    )
  }
}

export async function placeFindings(seen: CatalogInspection, config: Config, clock: Clock): Promise<Finding[]> {
  const found: Finding[] = []
  const devices: { region: string; device: string }[] = []
  for (const place of placesOf(seen, config)) {
    let usable = true
    if (place.folder !== undefined) {
      const [finding, facts] = await checkFolder(place)
      found.push(finding)
      if (facts !== undefined) devices.push({ region: place.region, device: facts.device })
      usable = facts !== undefined
    }
    if (place.check.startsWith('store') && usable) found.push(await checkStore(place, clock))
  }
  return [...found, ...sharedDevices(devices)]
}
