/** What the tables read of what the API gives. JSON shows it all; these are only the fields that people look for. */

export type ResourceJson = Readonly<{
  id: string
  name: string
  location?: string
  tags?: Readonly<Record<string, string>>
  properties?: Readonly<Record<string, unknown>>
}>

export type DiskProperties = Readonly<{
  diskSizeBytes?: number
  diskState?: string
  provisioningState?: string
  timeCreated?: string
  uniqueId?: string
}>

export type SnapshotProperties = DiskProperties &
  Readonly<{
    incremental?: boolean
    completionPercent?: number
    consistencyGroup?: string
    creationData?: Readonly<{ createOption?: string; sourceResourceId?: string; sourceUniqueId?: string }>
  }>

export type DiskJson = ResourceJson & Readonly<{ managedBy?: string; properties: DiskProperties }>
export type SnapshotJson = ResourceJson & Readonly<{ properties: SnapshotProperties }>

type ImageDiskJson = Readonly<{
  lun?: number
  osType?: string
  osState?: string
  managedDisk?: Readonly<{ id: string }>
  snapshot?: Readonly<{ id: string }>
  blobUri?: string
}>

export type ImageJson = ResourceJson &
  Readonly<{
    properties: Readonly<{
      provisioningState?: string
      hyperVGeneration?: string
      sourceVirtualMachine?: Readonly<{ id: string }>
      storageProfile?: Readonly<{ osDisk?: ImageDiskJson; dataDisks?: readonly ImageDiskJson[] }>
    }>
  }>

export type UsageProperties = Readonly<{
  sizeBytes?: number
  usedBytes?: number
  billedGiB?: number
  ownBytes?: number
  freedBytes?: number
  measuredAt?: string
}>
export type UsageJson = ResourceJson & Readonly<{ type: string; properties: UsageProperties }>
