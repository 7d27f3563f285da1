/** Snapshots as the commands show them. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { SnapshotJson } from './resource-json.ts'
import { groupIn, nameOf, SNAPSHOT_TYPE } from './targets.ts'
import { factLines, sizeCell, tagsCell, textCell, timeCell } from './words.ts'

export const SNAPSHOT: Kind<SnapshotJson> = {
  type: SNAPSHOT_TYPE,
  word: 'snapshot',
  one: (snapshot) => ({ value: snapshot, table: () => facts(snapshot) }),
  many: (snapshots) => ({ value: snapshots, table: () => snapshotTable(snapshots) }),
}

function sourceName({ properties }: SnapshotJson): string {
  const id = properties.creationData?.sourceResourceId
  return id === undefined ? '' : textCell(nameOf(id))
}

/** "Succeeded", or how far its making has come. */
function stateOf({ properties }: SnapshotJson): string {
  const { provisioningState, completionPercent } = properties
  const share = provisioningState === 'Creating' && completionPercent !== undefined ? ` ${completionPercent} %` : ''
  return `${textCell(provisioningState)}${share}`
}

function kindOf({ properties }: SnapshotJson): string {
  return properties.incremental === true ? 'incremental' : 'full'
}

function facts(snapshot: SnapshotJson): string {
  const { id, name, location, tags, properties } = snapshot
  return factLines([
    ['Name', textCell(name)],
    ['Group', textCell(groupIn(id))],
    ['Location', textCell(location)],
    ['Source', textCell(properties.creationData?.sourceResourceId)],
    ['Kind', kindOf(snapshot)],
    ['Size', sizeCell(properties.diskSizeBytes)],
    ['State', stateOf(snapshot)],
    ['Instant (UTC)', timeCell(properties.timeCreated)],
    ['Consistency group', textCell(properties.consistencyGroup)],
    ['Tags', tagsCell(tags)],
  ])
}

function snapshotTable(snapshots: readonly SnapshotJson[]): string {
  if (snapshots.length === 0) return 'There is no snapshot here.'
  const rows = snapshots.map((snapshot) => [
    textCell(snapshot.name),
    textCell(groupIn(snapshot.id)),
    textCell(snapshot.location),
    sourceName(snapshot),
    kindOf(snapshot),
    timeCell(snapshot.properties.timeCreated),
    stateOf(snapshot),
  ])
  return textTable(['NAME', 'GROUP', 'LOCATION', 'SOURCE', 'KIND', 'INSTANT (UTC)', 'STATE'], rows)
}
