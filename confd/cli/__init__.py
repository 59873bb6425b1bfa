"""The commands: confd, confd_client, c4, exaconf."""
