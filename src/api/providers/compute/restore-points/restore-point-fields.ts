/**
 * Fields of restore point collections and restore points: what the check and docs/api/restore-points.md are made from. Source: the
 * REST specification of ComputeRP, 2024-07-01 and 2026-04-01.
 */
import type { FieldTable } from '../../../arm/field-table.ts'

const P = 'properties.'

export const COLLECTION_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'etag', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  {
    path: 'location',
    use: 'honoured',
    note: 'that of the machine; of a collection of copies any region. Fixed when it is made',
  },
  { path: 'tags', use: 'honoured' },
  {
    path: `${P}source.id`,
    use: 'honoured',
    note: 'a machine; or another collection, whose points are copied into this one. Fixed when it is made',
  },
  { path: `${P}source.location`, use: 'read-only' },
  { path: `${P}instantAccess`, use: 'stored', only: [true, false], note: 'every point is readable at once' },
  { path: `${P}provisioningState`, use: 'read-only' },
  { path: `${P}restorePointCollectionId`, use: 'read-only' },
  { path: `${P}restorePoints`, use: 'read-only', note: 'with `$expand=restorePoints`' },
]

export const RESTORE_POINT_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'etag', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'location', use: 'read-only' },
  { path: 'tags', use: 'read-only' },
  {
    path: `${P}consistencyMode`,
    use: 'honoured',
    only: ['CrashConsistent', 'FileSystemConsistent', 'ApplicationConsistent'],
    note: 'application-consistent when it is not given. Shown is what was reached: without an agent that answers, crash-consistent',
  },
  { path: `${P}excludeDisks`, use: 'honoured', note: 'ids of disks of the machine that are left out' },
  {
    path: `${P}sourceRestorePoint.id`,
    use: 'honoured',
    note: 'in a collection of copies: a point of its source collection',
  },
  { path: `${P}instantAccessDurationMinutes`, use: 'stored', note: 'every point is readable at once and stays so' },
  {
    path: `${P}sourceMetadata`,
    use: 'refused',
    note: 'Disks are sealed with the key of their region; the machine is described by Holdfast.',
  },
  { path: `${P}timeCreated`, use: 'read-only', note: 'the instant that it shows; of a copy, that of its source' },
  { path: `${P}provisioningState`, use: 'read-only' },
  { path: `${P}instanceView`, use: 'read-only', note: 'with `$expand=instanceView`' },
]
