/**
 * Finds the UEFI firmware of this host by the descriptors that distributions install (docs/interop/firmware.json in QEMU):
 * /etc/qemu/firmware overrides /usr/share/qemu/firmware file by file, and the names give the order of preference.
 *
 * A machine gets firmware without Secure Boot, whose variables start from the template and are the machine's own from then
 * on. Choosing is pure.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#base'
import { HypervisorError } from '../errors.ts'
import { isObject, type JsonObject, textOr } from '../qmp/shape.ts'
import type { MachineType } from './device-address.ts'

export type UefiFirmware = Readonly<{ code: string; varsTemplate: string }>

const FOLDERS = ['/usr/share/qemu/firmware', '/etc/qemu/firmware'] as const
const MACHINE_PATTERN: Readonly<Record<MachineType, string>> = { pc: 'pc-i440fx-*', q35: 'pc-q35-*' }
const UNWANTED = new Set(['secure-boot', 'requires-smm', 'enrolled-keys'])

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

function objectIn(value: JsonObject, key: string): JsonObject {
  const inner = value[key]
  return isObject(inner) ? inner : {}
}

function servesMachine(descriptor: JsonObject, machineType: MachineType): boolean {
  const targets: unknown[] = Array.isArray(descriptor['targets']) ? descriptor['targets'] : []
  return targets
    .filter(isObject)
    .some((t) => t['architecture'] === 'x86_64' && strings(t['machines']).includes(MACHINE_PATTERN[machineType]))
}

function flashOf(descriptor: JsonObject): UefiFirmware | undefined {
  const mapping = objectIn(descriptor, 'mapping')
  const executable = objectIn(mapping, 'executable')
  const template = objectIn(mapping, 'nvram-template')
  const isRawFlash = mapping['device'] === 'flash' && executable['format'] === 'raw' && template['format'] === 'raw'
  if (!isRawFlash) return undefined
  return { code: textOr(executable['filename'], ''), varsTemplate: textOr(template['filename'], '') }
}

/** The first descriptor, in order, that fits: UEFI, split raw flash, this machine type, no Secure Boot. */
export function chooseFirmware(descriptors: readonly unknown[], machineType: MachineType): UefiFirmware | undefined {
  for (const descriptor of descriptors) {
    if (!isObject(descriptor) || !strings(descriptor['interface-types']).includes('uefi')) continue
    if (strings(descriptor['features']).some((feature) => UNWANTED.has(feature))) continue
    if (!servesMachine(descriptor, machineType)) continue
    const flash = flashOf(descriptor)
    if (flash !== undefined && flash.code !== '' && flash.varsTemplate !== '') return flash
  }
  return undefined
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.json'))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // a broken descriptor of the host describes no firmware; another one may
  }
}

/** @throws HypervisorError `hypervisor_feature_missing` when the host has no fitting firmware. */
export async function findFirmware(machineType: MachineType): Promise<UefiFirmware> {
  const byName = new Map<string, string>()
  for (const folder of FOLDERS) for (const name of await namesIn(folder)) byName.set(name, join(folder, name))
  const inOrder = Array.from(byName).sort(([a], [b]) => (a < b ? -1 : 1))
  const descriptors: unknown[] = []
  for (const [, path] of inOrder) descriptors.push(parsed(await readFile(path, 'utf8')))
  const chosen = chooseFirmware(descriptors, machineType)
  if (chosen !== undefined) return chosen
  throw new HypervisorError('hypervisor_feature_missing', `This host has no UEFI firmware for ${machineType}.`, {
    hint: 'Install the package ovmf.',
  })
}
