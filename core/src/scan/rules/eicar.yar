/* The test file that every scanner agrees to find. One character is escaped, so that these rules are not themselves taken
   for it by a scanner on the machine they are built on. */
rule EICAR_Test_File
{
    meta:
        description = "EICAR anti-virus test file, as octets or as UTF-16"
        false_positives = "texts that quote the whole string"
    strings:
        $eicar = "X5O!P%@AP[4\\PZX54(P^)7CC)7}\x24EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*" ascii wide
    condition:
        $eicar
}
