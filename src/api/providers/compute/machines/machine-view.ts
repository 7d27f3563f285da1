/** Machines as the API shows them, and their instance view: what the record says, and what the host says now. */
import { isoTime, isHoldfastError } from '#base'
import type { ResourceRecord } from '#catalog'
import { type MachineStatusLine, machineStatusLines, type OwnMachineBacking } from '#domain'
import {
  askPower,
  disksOfMachine,
  type MachineBacking,
  type MachinePower,
  type MachineReport,
  ownMachineOf,
  propertiesOf,
} from '#jobs'
import type { ArmHost } from '../../../arm/call.ts'
import { type ResourceView, showResource } from '../../../arm/resource-view.ts'

type Fields = Readonly<Record<string, unknown>>

export function showMachine(record: ResourceRecord, withUserData = false): ResourceView {
  const view = showResource(record)
  const { userData } = ownMachineOf(record) ?? {}
  if (!withUserData || userData === undefined) return view
  return { ...view, properties: { ...(view['properties'] as Fields), userData } }
}

const ADOPTED_WORDS: Readonly<Record<MachinePower, readonly [code: string, shown: string]>> = {
  running: ['PowerState/running', 'VM running'],
  paused: ['PowerState/stopped', 'VM stopped'],
  stopped: ['PowerState/stopped', 'VM stopped'],
  unknown: ['PowerState/unknown', 'VM unknown'],
}

function provisioning({ state, changedMs }: ResourceRecord): MachineStatusLine {
  return {
    code: `ProvisioningState/${state.toLowerCase()}`,
    level: state === 'Failed' ? 'Error' : 'Info',
    displayStatus: `Provisioning ${state.toLowerCase()}`,
    time: isoTime(changedMs),
  }
}

/** As its monitor says now. */
async function adoptedView({ clock }: ArmHost, record: ResourceRecord): Promise<Fields> {
  const { qmp, agent } = record.backing as Partial<MachineBacking>
  const power = qmp === undefined ? 'unknown' : await askPower(clock, qmp)
  const [code, displayStatus] = ADOPTED_WORDS[power]
  return {
    statuses: [provisioning(record), { code, level: 'Info', displayStatus }],
    disks: [],
    ...(agent !== undefined && { vmAgent: { vmAgentVersion: 'qemu-ga', statuses: [] } }),
  }
}

/** Undefined when the host does not know it (it never ran), or cannot be asked. */
async function reportOf(
  { machines }: ArmHost,
  own: OwnMachineBacking,
): Promise<MachineReport | 'unreachable' | undefined> {
  if (own.power === 'deallocated') return undefined
  try {
    return await machines.report(own.machine)
  } catch (error) {
    if (isHoldfastError(error, 'machine_not_found')) return undefined
    if (isHoldfastError(error)) return 'unreachable'
    throw error
  }
}

/** One that has just ended is told before anybody has written it down. */
function asSeen(own: OwnMachineBacking, report: MachineReport | undefined, nowMs: number): OwnMachineBacking {
  if (own.power !== 'running' || report === undefined || report.power === 'running' || report.power === 'paused')
    return own
  const { cause = 'vanished', atMs = nowMs } = report.end ?? {}
  return { ...own, power: 'stopped', lastEnd: { cause, atMs } }
}

const AGENT_WORDS = {
  ready: ['ProvisioningState/succeeded', 'Info', 'Ready', 'The guest agent is running.'],
  silent: ['ProvisioningState/Unavailable', 'Warning', 'Not Ready', 'The guest agent does not answer (yet).'],
  off: ['ProvisioningState/Unavailable', 'Warning', 'Not Ready', 'The machine does not run.'],
} as const

function agentView(report: MachineReport | undefined, time: string): Fields {
  const [code, level, displayStatus, message] = AGENT_WORDS[report?.agent ?? 'off']
  const vmAgentVersion = report?.agent === 'ready' ? 'qemu-ga' : 'Unknown'
  return { vmAgentVersion, statuses: [{ code, level, displayStatus, message, time }], extensionHandlers: [] }
}

async function ownView(host: ArmHost, record: ResourceRecord, own: OwnMachineBacking): Promise<Fields> {
  const answer = await reportOf(host, own)
  const report = answer === 'unreachable' ? undefined : answer
  const time = isoTime(host.clock.nowMs())
  const { osProfile, diagnosticsProfile, storageProfile } = propertiesOf(record)
  const notes = answer === 'unreachable' ? ['The host of the machine cannot be asked at the moment.'] : report?.notes
  const computerName = report?.hostName ?? ((osProfile ?? {}) as Fields)['computerName']
  const { osType } = (((storageProfile ?? {}) as Fields)['osDisk'] ?? {}) as Fields
  const { bootDiagnostics } = (diagnosticsProfile ?? {}) as Fields
  const paused = report?.power === 'paused' ? ['The guest stands still.'] : []
  return {
    ...(computerName !== undefined && { computerName }),
    osName: report?.osName ?? osType,
    ...(report?.osVersion !== undefined && { osVersion: report.osVersion }),
    hyperVGeneration: own.firmware === 'uefi' ? 'V2' : 'V1',
    vmAgent: agentView(report, time),
    disks: disksOfMachine(record).map(({ id }) => ({
      name: id.split('/').at(-1),
      statuses: [{ code: 'ProvisioningState/succeeded', level: 'Info', displayStatus: 'Provisioning succeeded', time }],
    })),
    extensions: [],
    ...(((bootDiagnostics ?? {}) as Fields)['enabled'] === true && { bootDiagnostics: {} }),
    statuses: [
      provisioning(record),
      ...machineStatusLines(asSeen(own, report, host.clock.nowMs()), isoTime),
      ...[...paused, ...(notes ?? [])].map((message) => ({
        code: 'HostState/note',
        level: 'Warning',
        displayStatus: 'Note of the host',
        message,
      })),
    ],
  }
}

export async function instanceView(host: ArmHost, record: ResourceRecord): Promise<Fields> {
  const own = ownMachineOf(record)
  return own === undefined ? adoptedView(host, record) : ownView(host, record, own)
}

export async function showExpanded(host: ArmHost, record: ResourceRecord, expand: string): Promise<ResourceView> {
  const asked = expand.toLowerCase()
  const view = showMachine(record, asked.includes('userdata'))
  if (!asked.includes('instanceview')) return view
  const properties = view['properties'] as Fields
  return { ...view, properties: { ...properties, instanceView: await instanceView(host, record) } }
}
