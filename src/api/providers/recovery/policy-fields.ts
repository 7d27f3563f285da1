/** The fields of backup policies: what the check and docs/api/vaults.md are made from. */
import type { FieldTable } from '../../arm/field-table.ts'

const P = 'properties.'
const S = `${P}schedulePolicy.`
const R = `${P}retentionPolicy.`
const honoured = (note: string | undefined, ...paths: readonly string[]): FieldTable =>
  paths.map((path) => ({ path, use: 'honoured', ...(note !== undefined && { note }) }))

function monthFields(schedule: string): FieldTable {
  return [
    {
      path: `${schedule}retentionScheduleFormatType`,
      use: 'honoured',
      only: ['Weekly', 'Daily'],
      note: 'by weekday, by date',
    },
    ...honoured(undefined, `${schedule}retentionScheduleWeekly.daysOfTheWeek`),
    ...honoured('First, Second, Third, Fourth, Last', `${schedule}retentionScheduleWeekly.weeksOfTheMonth`),
    ...honoured('`{date: 1 to 28}`, or `{date: 0, isLast: true}`', `${schedule}retentionScheduleDaily.daysOfTheMonth`),
    ...honoured('those of the schedule', `${schedule}retentionTimes`),
    ...honoured(undefined, `${schedule}retentionDuration.count`, `${schedule}retentionDuration.durationType`),
  ]
}

export const POLICY_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'eTag', 'location', 'tags'].map((path) => ({ path, use: 'read-only' as const })),
  { path: `${P}backupManagementType`, use: 'honoured', only: ['AzureIaasVM'], note: 'machines, and nothing else' },
  {
    path: `${P}policyType`,
    use: 'honoured',
    only: ['V1', 'V2'],
    note: 'default: that of the schedule; V2 does not become V1',
  },
  { path: `${P}timeZone`, use: 'honoured', note: 'a name of Windows or of the IANA database; default UTC' },
  ...honoured('1 to 5 (V1), 1 to 30 (V2)', `${P}instantRpRetentionRangeInDays`),
  { path: `${P}snapshotConsistencyType`, use: 'honoured', only: ['OnlyCrashConsistent'], note: 'V2' },
  { path: `${P}instantRPDetails`, use: 'stored', note: 'instants are no resources here' },
  { path: `${P}tieringPolicy`, use: 'stored', note: 'DoNotTier: there is no archive' },
  { path: `${P}protectedItemsCount`, use: 'read-only' },
  { path: `${P}resourceGuardOperationRequests`, use: 'refused', note: 'There are no resource guards.' },
  { path: `${P}policySubType`, use: 'refused' },
  { path: `${S}schedulePolicyType`, use: 'honoured', only: ['SimpleSchedulePolicy', 'SimpleSchedulePolicyV2'] },
  { path: `${S}scheduleRunFrequency`, use: 'honoured', only: ['Daily', 'Weekly', 'Hourly'] },
  ...honoured(
    'one time: of its hour and minute on the wall’s clock',
    `${S}scheduleRunTimes`,
    `${S}dailySchedule.scheduleRunTimes`,
  ),
  ...honoured(
    undefined,
    `${S}weeklySchedule.scheduleRunTimes`,
    `${S}weeklySchedule.scheduleRunDays`,
    `${S}scheduleRunDays`,
  ),
  { path: `${S}scheduleWeeklyFrequency`, use: 'stored' },
  ...honoured('4, 6, 8, 12 or 24 hours as Azure has them; also 1, 2 or 3', `${S}hourlySchedule.interval`),
  ...honoured(undefined, `${S}hourlySchedule.scheduleWindowStartTime`),
  ...honoured('hours, 4 to 24', `${S}hourlySchedule.scheduleWindowDuration`),
  { path: `${R}retentionPolicyType`, use: 'honoured', only: ['LongTermRetentionPolicy'] },
  ...honoured('those of the schedule', `${R}dailySchedule.retentionTimes`, `${R}weeklySchedule.retentionTimes`),
  ...honoured(
    undefined,
    `${R}dailySchedule.retentionDuration.count`,
    `${R}dailySchedule.retentionDuration.durationType`,
  ),
  ...honoured(undefined, `${R}weeklySchedule.daysOfTheWeek`),
  ...honoured(
    undefined,
    `${R}weeklySchedule.retentionDuration.count`,
    `${R}weeklySchedule.retentionDuration.durationType`,
  ),
  ...monthFields(`${R}monthlySchedule.`),
  ...honoured(undefined, `${R}yearlySchedule.monthsOfYear`),
  ...monthFields(`${R}yearlySchedule.`),
  ...honoured(
    'ours: scheduled backups begin only from this time of the day (HH:MM) ...',
    `${P}holdfastLimits.startTime`,
  ),
  ...honoured('... and within so many hours', `${P}holdfastLimits.hours`),
]
