/**
 * Sizes of machines: Azure's names for processors and memory, those that scripts use most, and any other as
 * `Holdfast_<processors>x<MiB>`. Source: Azure "Sizes for virtual machines"; the figures are of the size, the rest of what a
 * size means in Azure (network, local disks, speed) is not.
 *
 * Whether there is room for one more is decided here too: memory is given once, processors may be shared.
 */

export type MachineSize = Readonly<{ name: string; cpus: number; memoryMib: number }>

/** Family, its suffix, and pairs of processors and GiB. */
const FAMILIES: readonly (readonly [
  prefix: string,
  suffix: string,
  sizes: readonly (readonly [label: string, cpus: number, gib: number])[],
])[] = [
  [
    'Standard_B',
    '',
    [
      ['1ls', 1, 0.5],
      ['1s', 1, 1],
      ['1ms', 1, 2],
      ['2s', 2, 4],
      ['2ms', 2, 8],
      ['4ms', 4, 16],
      ['8ms', 8, 32],
    ],
  ],
  ['Standard_B', 's_v2', ladder(4, [2, 4, 8, 16, 32])],
  ['Standard_A', '_v2', ladder(2, [1, 2, 4, 8])],
  [
    'Standard_D',
    '_v2',
    [
      ['1', 1, 3.5],
      ['2', 2, 7],
      ['3', 4, 14],
      ['4', 8, 28],
      ['5', 16, 56],
    ],
  ],
  [
    'Standard_DS',
    '_v2',
    [
      ['1', 1, 3.5],
      ['2', 2, 7],
      ['3', 4, 14],
      ['4', 8, 28],
      ['5', 16, 56],
    ],
  ],
  ...['_v3', 's_v3', '_v4', 's_v4', 'ds_v4', '_v5', 's_v5', 'ds_v5', 's_v6', 'as_v4', 'as_v5', 'as_v6'].map(
    (suffix) => ['Standard_D', suffix, ladder(4, [2, 4, 8, 16, 32, 48, 64])] as const,
  ),
  ...['_v3', 's_v3', '_v4', 's_v4', '_v5', 's_v5', 'ds_v5', 's_v6', 'as_v5'].map(
    (suffix) => ['Standard_E', suffix, ladder(8, [2, 4, 8, 16, 32, 48])] as const,
  ),
  ['Standard_F', 's_v2', ladder(2, [2, 4, 8, 16, 32, 48, 64])],
]

function ladder(gibPerCpu: number, cpus: readonly number[]): readonly (readonly [string, number, number])[] {
  return cpus.map((count) => [String(count), count, count * gibPerCpu])
}

export const MACHINE_SIZES: readonly MachineSize[] = FAMILIES.flatMap(([prefix, suffix, sizes]) =>
  sizes.map(([label, cpus, gib]) => ({ name: `${prefix}${label}${suffix}`, cpus, memoryMib: gib * 1024 })),
)

const BY_NAME = new Map(MACHINE_SIZES.map((size) => [size.name.toLowerCase(), size]))
const OWN = /^holdfast_([1-9]\d{0,2})x([1-9]\d{0,6})$/i
const OWN_CPUS_MAX = 255
const OWN_MIB_MIN = 64

/** By its name, in any case; undefined for one that is not known. */
export function findMachineSize(name: string): MachineSize | undefined {
  const known = BY_NAME.get(name.toLowerCase())
  if (known !== undefined) return known
  const [, cpus, mib] = OWN.exec(name) ?? []
  const [count, memoryMib] = [Number(cpus), Number(mib)]
  if (cpus === undefined || count > OWN_CPUS_MAX || memoryMib < OWN_MIB_MIN) return undefined
  return { name: `Holdfast_${count}x${memoryMib}`, cpus: count, memoryMib }
}

export type HostRoom = Readonly<{ cpus: number; memoryMib: number }>

/** Why the machine has no room beside those that hold some; undefined when it has. */
export function whyNoRoom(host: HostRoom, taken: readonly HostRoom[], size: MachineSize): string | undefined {
  const used = taken.reduce((sum, one) => ({ cpus: sum.cpus + one.cpus, memoryMib: sum.memoryMib + one.memoryMib }), {
    cpus: 0,
    memoryMib: 0,
  })
  if (used.memoryMib + size.memoryMib > host.memoryMib)
    return (
      `The size ${size.name} needs ${size.memoryMib} MiB of memory; of the ${host.memoryMib} MiB that the host gives to ` +
      `machines ${Math.max(0, host.memoryMib - used.memoryMib)} MiB are free.`
    )
  if (used.cpus + size.cpus > host.cpus)
    return (
      `The size ${size.name} needs ${size.cpus} processors; of the ${host.cpus} that the host gives to machines ` +
      `${Math.max(0, host.cpus - used.cpus)} are free.`
    )
  return undefined
}
