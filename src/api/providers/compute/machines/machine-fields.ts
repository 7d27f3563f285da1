/** The fields of a machine: what the checks and docs/api/machines.md are made from. */
import type { FieldTable } from '../../../arm/field-table.ts'

const P = 'properties.'
const S = 'properties.storageProfile.'
const O = 'properties.storageProfile.osDisk.'
const U = 'properties.osProfile.'
const L = 'properties.osProfile.linuxConfiguration.'
const SEC = 'properties.securityProfile.'
const NO_PLACEMENT = 'One host runs the machines of a region.'
const NO_VAULT = 'There is no key vault; encrypt the pool’s file system instead.'

export const CACHING = ['None', 'ReadOnly', 'ReadWrite'] as const
export const DISK_DELETE_OPTIONS = ['Delete', 'Detach'] as const

export const MACHINE_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'etag', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'managedBy', use: 'read-only' },
  { path: 'resources', use: 'read-only' },
  { path: 'location', use: 'honoured', note: 'a region of this server, that of its disks and network interfaces' },
  { path: 'tags', use: 'honoured' },
  { path: 'zones', use: 'stored' },
  { path: 'plan', use: 'stored' },
  { path: 'identity', use: 'refused', note: 'Machines have no identity of their own here.' },
  { path: 'extendedLocation', use: 'refused', note: 'There are no edge zones.' },
  { path: 'placement', use: 'refused', note: NO_PLACEMENT },
  { path: `${P}hardwareProfile.vmSize`, use: 'honoured', note: 'a size of Azure, or `Holdfast_<processors>x<MiB>`' },
  { path: `${P}hardwareProfile.vmSizeProperties`, use: 'refused', note: 'Name a size that has them.' },
  { path: `${P}hardwareProfile.processorMode`, use: 'refused' },
  { path: `${S}imageReference.id`, use: 'honoured', note: 'an image, or a platform image' },
  { path: `${S}imageReference.publisher`, use: 'honoured', note: 'with offer, sku and version: a platform image' },
  { path: `${S}imageReference.offer`, use: 'honoured' },
  { path: `${S}imageReference.sku`, use: 'honoured' },
  { path: `${S}imageReference.version`, use: 'honoured', note: '`latest`: the newest' },
  { path: `${S}imageReference.exactVersion`, use: 'read-only' },
  { path: `${S}imageReference.sharedGalleryImageId`, use: 'refused', note: 'There are no galleries.' },
  { path: `${S}imageReference.communityGalleryImageId`, use: 'refused', note: 'There are no galleries.' },
  { path: `${O}osType`, use: 'honoured', only: ['Linux', 'Windows'] },
  { path: `${O}name`, use: 'honoured', note: 'of a disk that is made' },
  { path: `${O}caching`, use: 'stored', only: CACHING },
  {
    path: `${O}createOption`,
    use: 'honoured',
    only: ['Attach', 'Copy', 'Restore', 'Empty', 'FromImage'],
    note: 'FromImage needs imageReference; Copy: of a snapshot in one step, which Azure does in two',
  },
  { path: `${O}sourceResource.id`, use: 'honoured', note: 'with Copy and Restore: a snapshot, or a disk at rest' },
  { path: `${O}diskSizeGB`, use: 'honoured', note: 'of a disk that is made; later, the disk itself grows' },
  { path: `${O}managedDisk.id`, use: 'honoured', note: 'with Attach' },
  { path: `${O}managedDisk.storageAccountType`, use: 'stored' },
  { path: `${O}managedDisk.diskEncryptionSet.id`, use: 'refused', note: NO_VAULT },
  { path: `${O}managedDisk.securityProfile`, use: 'refused', note: 'There are no confidential machines.' },
  { path: `${O}managedDisk.additionalDiskProperties`, use: 'refused' },
  { path: `${O}deleteOption`, use: 'honoured', only: DISK_DELETE_OPTIONS, note: 'Detach where nothing is said' },
  { path: `${O}writeAcceleratorEnabled`, use: 'refused', only: [false] },
  { path: `${O}diffDiskSettings`, use: 'refused', note: 'A disk outlives the run of its machine.' },
  { path: `${O}encryptionSettings`, use: 'refused', note: NO_VAULT },
  { path: `${O}vhd`, use: 'refused', note: 'Import the blob as a disk.' },
  { path: `${O}image`, use: 'refused', note: 'Import the blob as a disk.' },
  { path: `${O}storageFaultDomainAlignment`, use: 'refused', note: NO_PLACEMENT },
  { path: `${S}dataDisks`, use: 'honoured', note: 'the whole list, see below; attached and detached while it runs' },
  { path: `${S}diskControllerType`, use: 'refused', only: ['SCSI'], note: 'Data disks are SCSI disks.' },
  { path: `${S}alignRegionalDisksToVMZone`, use: 'stored' },
  { path: `${S}diskApiVersion`, use: 'stored' },
  { path: `${U}computerName`, use: 'honoured', note: 'by the seed of its first boot; the machine’s name by itself' },
  { path: `${U}adminUsername`, use: 'honoured', note: 'by the seed' },
  { path: `${U}adminPassword`, use: 'honoured', note: 'by the seed, hashed; never kept nor shown' },
  { path: `${U}customData`, use: 'honoured', note: 'base64, user data of cloud-init; never shown' },
  { path: `${L}disablePasswordAuthentication`, use: 'honoured' },
  { path: `${L}ssh.publicKeys`, use: 'honoured', note: '`keyData` for the administrator; `path` is only shown' },
  { path: `${L}provisionVMAgent`, use: 'stored', note: 'the agent is QEMU’s, of the guest’s own packages' },
  { path: `${L}patchSettings`, use: 'stored' },
  { path: `${L}enableVMAgentPlatformUpdates`, use: 'stored' },
  { path: `${U}windowsConfiguration`, use: 'refused', note: 'Windows is set up in its image (sysprep).' },
  { path: `${U}secrets`, use: 'refused', note: NO_VAULT },
  { path: `${U}allowExtensionOperations`, use: 'stored' },
  { path: `${U}requireGuestProvisionSignal`, use: 'stored' },
  { path: `${P}userData`, use: 'honoured', note: 'base64; user data of cloud-init where there is no customData' },
  { path: `${P}networkProfile.networkInterfaces`, use: 'honoured', note: 'at most 4, see below' },
  { path: `${P}networkProfile.networkApiVersion`, use: 'stored' },
  {
    path: `${P}networkProfile.networkInterfaceConfigurations`,
    use: 'refused',
    note: 'Make the network interface first.',
  },
  { path: `${P}diagnosticsProfile.bootDiagnostics.enabled`, use: 'honoured', note: 'on where nothing is said' },
  {
    path: `${P}diagnosticsProfile.bootDiagnostics.storageUri`,
    use: 'refused',
    note: 'Logs are kept with the machine: leave it out.',
  },
  { path: `${SEC}securityType`, use: 'refused', only: ['Standard'], note: 'There is no trusted launch.' },
  { path: `${SEC}uefiSettings.secureBootEnabled`, use: 'refused', only: [false] },
  { path: `${SEC}uefiSettings.vTpmEnabled`, use: 'refused', only: [false] },
  { path: `${SEC}encryptionAtHost`, use: 'refused', only: [false], note: NO_VAULT },
  { path: `${SEC}encryptionIdentity`, use: 'refused' },
  { path: `${SEC}proxyAgentSettings`, use: 'refused' },
  { path: `${P}additionalCapabilities.ultraSSDEnabled`, use: 'stored' },
  { path: `${P}additionalCapabilities.hibernationEnabled`, use: 'refused', only: [false] },
  { path: `${P}additionalCapabilities.enableFips1403Encryption`, use: 'refused', only: [false] },
  { path: `${P}availabilitySet`, use: 'refused', note: NO_PLACEMENT },
  { path: `${P}virtualMachineScaleSet`, use: 'refused' },
  { path: `${P}proximityPlacementGroup`, use: 'refused', note: NO_PLACEMENT },
  { path: `${P}host`, use: 'refused', note: NO_PLACEMENT },
  { path: `${P}hostGroup`, use: 'refused', note: NO_PLACEMENT },
  { path: `${P}capacityReservation`, use: 'refused' },
  { path: `${P}priority`, use: 'refused', only: ['Regular'], note: 'No machine is evicted.' },
  { path: `${P}evictionPolicy`, use: 'stored' },
  { path: `${P}billingProfile`, use: 'stored' },
  { path: `${P}licenseType`, use: 'stored' },
  { path: `${P}extensionsTimeBudget`, use: 'stored' },
  { path: `${P}platformFaultDomain`, use: 'stored' },
  { path: `${P}scheduledEventsPolicy`, use: 'stored' },
  { path: `${P}scheduledEventsProfile`, use: 'stored' },
  { path: `${P}applicationProfile`, use: 'refused' },
  { path: `${P}interconnectBlockProfile`, use: 'refused' },
  { path: `${P}resiliencyProfile`, use: 'refused' },
  { path: `${P}provisioningState`, use: 'read-only' },
  { path: `${P}instanceView`, use: 'read-only' },
  { path: `${P}vmId`, use: 'read-only' },
  { path: `${P}timeCreated`, use: 'read-only' },
]

/** One entry of `dataDisks`. */
export const DATA_DISK_FIELDS: FieldTable = [
  { path: 'lun', use: 'honoured', note: '0 to 63; the guest sees SCSI disk 0:0:0:(lun + 1)' },
  { path: 'name', use: 'honoured', note: 'of a disk that is made' },
  { path: 'createOption', use: 'honoured', only: ['Attach', 'Empty', 'Copy', 'Restore', 'FromImage'] },
  { path: 'sourceResource.id', use: 'honoured', note: 'with Copy and Restore: a snapshot, or a disk at rest' },
  { path: 'diskSizeGB', use: 'honoured', note: 'of a disk that is made' },
  { path: 'managedDisk.id', use: 'honoured', note: 'with Attach' },
  { path: 'managedDisk.storageAccountType', use: 'stored' },
  { path: 'managedDisk.diskEncryptionSet.id', use: 'refused', note: NO_VAULT },
  { path: 'managedDisk.securityProfile', use: 'refused', note: 'There are no confidential machines.' },
  { path: 'managedDisk.additionalDiskProperties', use: 'refused' },
  { path: 'caching', use: 'stored', only: CACHING },
  { path: 'deleteOption', use: 'honoured', only: DISK_DELETE_OPTIONS, note: 'Detach where nothing is said' },
  { path: 'toBeDetached', use: 'honoured' },
  { path: 'detachOption', use: 'stored', only: ['ForceDetach'], note: 'the guest is always asked' },
  { path: 'writeAcceleratorEnabled', use: 'refused', only: [false] },
  { path: 'diskIOPSReadWrite', use: 'read-only' },
  { path: 'diskMBpsReadWrite', use: 'read-only' },
  { path: 'vhd', use: 'refused', note: 'Import the blob as a disk.' },
  { path: 'image', use: 'refused', note: 'Import the blob as a disk.' },
  { path: 'storageFaultDomainAlignment', use: 'refused', note: NO_PLACEMENT },
]

/** One entry of `networkInterfaces`. */
export const NIC_FIELDS: FieldTable = [
  { path: 'id', use: 'honoured' },
  { path: 'properties.primary', use: 'honoured', note: 'the first where none is' },
  { path: 'properties.deleteOption', use: 'honoured', only: DISK_DELETE_OPTIONS, note: 'Detach where nothing is said' },
]

/** One entry of `publicKeys`. */
export const SSH_KEY_FIELDS: FieldTable = [
  { path: 'path', use: 'stored' },
  { path: 'keyData', use: 'honoured', note: 'one line, as in `authorized_keys`' },
]

/** `attachDetachDataDisks`. */
export const ATTACH_FIELDS: FieldTable = [
  { path: 'diskId', use: 'honoured' },
  { path: 'lun', use: 'honoured', note: 'the first that is free' },
  { path: 'caching', use: 'stored', only: CACHING },
  { path: 'deleteOption', use: 'honoured', only: DISK_DELETE_OPTIONS },
  { path: 'diskEncryptionSet', use: 'refused', note: NO_VAULT },
  { path: 'writeAcceleratorEnabled', use: 'refused', only: [false] },
]
export const DETACH_FIELDS: FieldTable = [
  { path: 'diskId', use: 'honoured' },
  { path: 'detachOption', use: 'stored', only: ['ForceDetach'], note: 'the guest is always asked' },
]

/** `runCommand`. */
export const RUN_COMMAND_FIELDS: FieldTable = [
  { path: 'commandId', use: 'honoured', only: ['RunShellScript'], note: 'by the guest agent, as it runs: root' },
  { path: 'script', use: 'honoured', note: 'its lines; never kept' },
  { path: 'parameters', use: 'honoured', note: '`name` and `value`: variables, and in their order arguments' },
]
